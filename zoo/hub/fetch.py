"""The weights of a tag into the cache: the first source that answers is downloaded, checked and converted."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from zoo.convert import file_metadata, read_checkpoint, shift_of
from zoo.data.transfer import TransferError, discard, shown
from zoo.errors import CheckpointError, InputError, SourceError
from zoo.hub.cache import Entry, Record
from zoo.hub.download import checked_from_hub, download_from_url
from zoo.hub.golden import write_golden
from zoo.hub.network import network
from zoo.hub.sources import BundledFile, HubFile, Source, UrlFile, sources_of
from zoo.hub.weights_file import WEIGHTS_NAME, write_weights
from zoo.weights import WeightsSpec, file_sha256

log = logging.getLogger("zoo")


def fetch(spec: WeightsSpec) -> tuple[Entry, Record]:
    """Where in the cache the weights of a tag are; they are downloaded where they are not there.

    Any number of processes may ask at once: one of them downloads.

    Raises:
        SourceError: no source gives the file; the text lists what was tried, how each failed and what to do.
        InputError: there is no room for it.
    """
    entry = Entry(spec.name)
    record = entry.intact()
    if record is None:
        with entry.locked():
            record = entry.intact() or _first_that_answers(spec, entry)
    return entry, record


def _first_that_answers(spec: WeightsSpec, entry: Entry) -> Record:
    failures = []
    for source, address in _addresses(spec):
        try:
            record = _enter(spec, entry, source, address)
        except (SourceError, TransferError, CheckpointError) as error:
            failures.append(str(error))
            continue
        except OSError as error:
            raise InputError(
                f"{spec.name} cannot be kept in {entry.folder} ({error.strerror}): make room for it, or name another "
                "folder in ZOO_CACHE"
            ) from error
        for failure in failures:
            log.warning("%s; %s was taken instead", failure, record.found_at)
        for left in entry.folder.glob("*.part"):
            discard(left)
        return record
    raise SourceError(
        f"{spec.name} cannot be had, {len(failures)} places were tried: {' | '.join(failures)} | if you have the file, "
        f"pass it: zoo.create_model({spec.name!r}, checkpoint=PATH)"
    )


def _addresses(spec: WeightsSpec) -> list[tuple[Source, str]]:
    """The sources of a tag, one that has mirrors several times."""
    found: list[tuple[Source, str]] = []
    for source in sources_of(spec):
        addresses = (source.url, *source.mirrors) if isinstance(source, UrlFile) else (str(source),)
        found += [(source, address) for address in addresses]
    return found


def _enter(spec: WeightsSpec, entry: Entry, source: Source, address: str) -> Record:
    """Download the file at ``address`` and convert it into the cache."""
    if isinstance(source, BundledFile):
        raise SourceError(f"{source}: is missing; restore the file")
    if isinstance(source, HubFile):
        path, sha256, published = checked_from_hub(source)
    else:
        path = entry.folder / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}.part"
        download_from_url(address, path)
        sha256, published = file_sha256(path), source.sha256
    try:
        entry.check(str(source), sha256, published)
        target = _convert(spec, entry, path, shown(address))
        return entry.enter(target, shown(address), str(source), sha256, bool(published))
    finally:
        if isinstance(source, UrlFile):
            discard(path)


def _convert(spec: WeightsSpec, entry: Entry, path: Path, address: str) -> Path:
    """Write what ``path`` holds to the cache, under our names and as safetensors, with golden tensors beside it.

    Nothing in the file is executed. Its logits come into the order of the description's classes.
    """
    try:
        model = network(spec, read_checkpoint(path))
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(repr(str(path)), address)) from error
    target = entry.folder / WEIGHTS_NAME
    write_weights(target, model.state_dict(), file_metadata(shift_of(model)))
    write_golden(entry.folder, model)
    return target
