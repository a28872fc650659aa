"""A file comes whole from wherever the connection broke, and never as a mixture of two versions."""

import urllib.error
import urllib.request
from email.message import Message

import pytest

from zoo.data import transfer
from zoo.data.transfer import NotThereError, TransferError, fetch

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def part(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0)
    return tmp_path / "file.part"


def test_a_broken_connection_is_continued(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.fail("file", after=300_000, times=2)
    fetch(url, part)
    assert part.read_bytes() == CONTENT and hub.downloads("file") == ["", "bytes=300000-", "bytes=600000-"]
    assert [path.name for path in part.parent.iterdir() if path.suffix in (".part", ".etag")] == ["file.part"]


def test_a_later_attempt_goes_on_where_the_first_gave_up(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.fail("file", after=100_000, times=3)
    with pytest.raises(TransferError, match="300000 of 1024000 bytes came"):
        fetch(url, part)
    fetch(url, part)
    assert part.read_bytes() == CONTENT and hub.downloads("file")[-1] == "bytes=300000-"


def test_another_version_is_begun_anew(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.fail("file", after=100_000, times=3)
    with pytest.raises(TransferError):
        fetch(url, part)
    hub.add_file("file", CONTENT[::-1])
    fetch(url, part)
    assert part.read_bytes() == CONTENT[::-1]


def test_a_server_that_knows_no_ranges_sends_all_again(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.ignores_ranges = True
    hub.fail("file", after=100_000, times=2)
    fetch(url, part)
    assert part.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_or_too_long_comes_again(hub, part):
    url = hub.add_file("file", CONTENT)
    fetch(url, part)
    etag = f'"{hub.etag(CONTENT)}"'
    for length in (len(CONTENT), len(CONTENT) + 1):
        part.write_bytes(b"?" * length)
        part.with_name("file.part.etag").write_text(etag)
        fetch(url, part)
        assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (401, 1), (403, 1), (404, 1), (429, 3), (500, 3), (503, 3)])
def test_what_may_pass_is_tried_again_and_what_will_not_is_told_at_once(hub, part, status, attempts):
    url = hub.add_file("file", CONTENT)
    hub.fail("file", status)
    with pytest.raises(NotThereError if status in (403, 404) else TransferError, match=f"HTTP {status}") as caught:
        fetch(f"{url}?key=secret", part)
    assert len(hub.downloads("file")) == attempts and "secret" not in str(caught.value) and not part.exists()


def test_a_host_that_does_not_answer_is_asked_again_only_by_who_has_patience(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.stop()
    for patient in (True, False):
        with pytest.raises(TransferError, match="refused"):
            fetch(url, part, patient=patient)


def test_a_redirect_leads_to_the_web_alone(hub, part):
    url = hub.add_file("file", CONTENT)
    hub.fail("file", 302, headers={"Location": "ftp://127.0.0.1/file"})
    with pytest.raises(TransferError, match=r"leads from .* to ftp://127.0.0.1/file, which is not followed"):
        fetch(url, part)


def test_a_redirect_does_not_give_up_encryption():
    """Nobody publishes the hashes of the authors' files: HTTPS alone vouches for the first download."""
    asked, follow = urllib.request.Request("https://a.example/file"), transfer._SafeRedirects().redirect_request
    assert follow(asked, None, 302, "", Message(), "https://b.example/file").full_url == "https://b.example/file"
    with pytest.raises(urllib.error.HTTPError, match="which is not followed"):
        follow(asked, None, 302, "", Message(), "http://b.example/file")
