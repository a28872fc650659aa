"""Files of weights from the Hub and from plain addresses, onto this machine; no claim about them is believed here."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo.data.transfer import fetch
from zoo.errors import InputError, SourceError
from zoo.hub.card import LIBRARY
from zoo.hub.patience import patiently, wished_pause
from zoo.hub.sources import HubFile
from zoo.weights import file_sha256

LOGIN = "log in with `hf auth login` or set HF_TOKEN"


def checked_from_hub(source: HubFile) -> tuple[Path, str, str]:
    """A large file of the Hub as `download_from_hub` gives it, its hash, and the hash that the Hub publishes, if any.

    Its client looks at the size alone: where the hash is another, the file is downloaded once more.
    """
    path = download_from_hub(source)
    sha256 = file_sha256(path)
    if sha256 != (_published_sha256(path) or sha256):
        path = download_from_hub(source, again=True)
        sha256 = file_sha256(path)
    return path, sha256, _published_sha256(path)


def download_from_hub(source: HubFile, again: bool = False) -> Path:
    """The path of a file of the Hub in the Hub's own cache, to which it is downloaded where it is not there.

    All the settings of ``huggingface_hub`` hold: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.

    Args:
        source: the file.
        again: download it even where it is there.

    Raises:
        SourceError: it cannot be had; the text says why, and what to do.
        InputError: the Hub's cache cannot be written, or has no room for it.
    """
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return patiently(lambda: _from_hub(source, again))
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, ValueError) as error:
        raise SourceError(f"{source}: {_reason(error, source)}") from error
    except OSError as error:
        if error.errno is None:  # its size is another than the Hub says
            raise SourceError(f"{source}: did not come whole ({_first_line(error)}); try again") from error
        raise InputError(
            f"{source}: cannot be kept ({error.strerror}): make room for it, or name another folder in HF_HOME"
        ) from error


def _from_hub(source: HubFile, again: bool) -> Path:
    """As `download_from_hub`, with the errors of the client: what it has is taken where the Hub does not answer."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_download, hf_hub_url

    def get(**how: Any) -> Path:
        return Path(
            hf_hub_download(source.repo_id, source.filename, revision=source.revision, library_name=LIBRARY, **how)
        )

    url = hf_hub_url(source.repo_id, source.filename, revision=source.revision)
    try:
        if re.fullmatch(r"[0-9a-f]{40}", source.revision) and not again:
            with suppress(errors.LocalEntryNotFoundError):
                return get(local_files_only=True)
        get_hf_file_metadata(url, library_name=LIBRARY)  # hf_hub_download would ask for minutes
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError):
        raise
    except (errors.HTTPError, errors.OfflineModeIsEnabled) as error:
        if again:
            raise
        try:
            return get(local_files_only=True)
        except errors.LocalEntryNotFoundError:
            raise error from None
    return get(force_download=again)


def _published_sha256(path: Path) -> str:
    """The hash that the Hub gives for a large file: its cache names files by it. Empty where it gives none."""
    name = path.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else ""


def download_from_url(url: str, part: Path) -> None:
    """Download ``url`` to ``part``, or continue what is there of it; with a bar on a terminal.

    Raises:
        SourceError: HF_HUB_OFFLINE is set.
        TransferError: it cannot be fetched; the text says why.
        InputError: there is no room for it.
    """
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        raise SourceError(f"{url}: HF_HUB_OFFLINE is set, so nothing is downloaded: unset it")
    fetch(url, part, patient=False, progress=True)


def _reason(error: Exception, source: HubFile) -> str:
    """Why the Hub did not give a file, and what to do, in half a sentence."""
    from huggingface_hub import errors

    cause = error if isinstance(error, errors.HTTPError | errors.OfflineModeIsEnabled) else error.__cause__ or error
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set and the file is not in the Hub's cache: unset it once"
    if isinstance(cause, errors.GatedRepoError):
        return f"is gated: accept its terms on its page, the Hub's {source.repo_id}, and {LOGIN}"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return f"there is no such repository, or it is private: check the name, or {LOGIN}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return "the repository has no such revision: check what follows the @"
    if isinstance(cause, errors.RemoteEntryNotFoundError):
        return "the repository has no such file: it is not one of a model of this kind"
    if isinstance(cause, errors.HFValidationError):
        return "is not the name of a repository: write hf-hub:owner/name"
    if isinstance(cause, errors.HfHubHTTPError):
        status = cause.response.status_code
        advice = {
            401: f"your token is not valid: {LOGIN}",
            403: f"your token may not read it: {LOGIN} with another",
            429: "too many requests: wait a while, or " + LOGIN,
        }
        wished = wished_pause(cause.response.headers)
        asked = "" if wished is None else f", to be asked again in {wished:.0f} s"
        return f"HTTP {status}{asked}, {advice.get(status, 'the Hub has a problem: try again later')}"
    return f"the Hub cannot be reached ({_first_line(cause or error)}): check the connection and HF_ENDPOINT"


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
