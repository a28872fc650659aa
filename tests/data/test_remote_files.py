"""A file that lies elsewhere is fetched once and whole, however many want it and whatever goes wrong on the way."""

import multiprocessing
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import pytest

from zoo.data import transfer
from zoo.data.remote_files import FileCache, beside, read_if_there
from zoo.errors import InputError


class Server(ThreadingHTTPServer):
    """Gives every file as 1000 bytes of its first letter; the first ``failures`` answers break off or are refused."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.count, self.failures, self.status, self.lock = 0, 0, 200, Lock()
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        with self.server.lock:
            self.server.count += 1
            fails = self.server.count <= self.server.failures
        self.send_response(self.server.status if fails else 200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(self.path[1:2].encode() * (300 if fails else 1000))

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0)
    with Server() as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def read(cache, location, size=None):
    with cache.open(location, size) as file:
        return file.read()


@pytest.mark.parametrize("status", [200, 503])
def test_a_connection_that_fails_is_tried_again(server, tmp_path, status):
    server.failures, server.status = 2, status
    assert read(FileCache(tmp_path), f"{server.address}/a.tar") == b"a" * 1000
    assert server.count == 3
    server.failures = 5
    assert read_if_there(f"{server.address}/b.json") == b"b" * 1000


def test_what_never_comes_whole_is_not_kept(server, tmp_path):
    server.failures = 99
    with pytest.raises(InputError, match=r"a\.tar cannot be fetched \(300 of 1000 bytes came\)") as error:
        read(FileCache(tmp_path), f"{server.address}/a.tar?token=secret")
    assert "secret" not in str(error.value) and not list(tmp_path.glob("*.tar"))


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_not_there_is_told_at_once(server, tmp_path, status):
    server.failures, server.status = 99, status
    assert read_if_there(f"{server.address}/a.json") is None
    with pytest.raises(InputError, match=r"a\.tar is not there"):
        read(FileCache(tmp_path), f"{server.address}/a.tar")
    assert server.count == 2


def test_a_file_of_another_size_is_fetched_again_or_refused(server, tmp_path):
    cache = FileCache(tmp_path)
    with pytest.raises(InputError, match="has 1000 bytes, but its index tells of 900"):
        read(cache, f"{server.address}/a.tar", 900)
    read(cache, f"{server.address}/a.tar", 1000)
    (kept,) = tmp_path.glob("*.tar")
    kept.write_bytes(b"old")
    assert read(cache, f"{server.address}/a.tar", 1000) == b"a" * 1000


def test_what_was_not_used_for_longest_makes_room(server, tmp_path):
    cache = FileCache(tmp_path, limit=2500)
    for name in "ab":
        read(cache, f"{server.address}/{name}.tar")
    for age, path in enumerate(sorted(tmp_path.glob("*.tar"), key=lambda path: path.name[17])):
        os.utime(path, (age, age))
    with cache.open(f"{server.address}/a.tar") as still_open:  # used again
        read(cache, f"{server.address}/c.tar")
        assert sorted(path.name[17] for path in tmp_path.glob("*.tar")) == ["a", "c"]
        read(FileCache(tmp_path, limit=500), f"{server.address}/d.tar")
        assert [path.name[17] for path in tmp_path.glob("*.tar")] == ["d"]
        assert still_open.read() == b"a" * 1000


def fetch(folder, address):
    for _ in range(5):
        for name in "abcdef":
            assert read(FileCache(folder, limit=3000), f"{address}/{name}.tar", 1000) == name.encode() * 1000


def test_processes_share_a_cache(server, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(tmp_path, server.address)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) <= 4000


def fetch_one(folder, address):
    assert read(FileCache(folder), f"{address}/a.tar") == b"a" * 1000


def test_two_processes_that_want_a_file_at_once_fetch_it_once(server, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch_one, args=(tmp_path, server.address)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4 and server.count == 1


def test_a_folder_that_cannot_be_written_is_told(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="make room or name another folder"):
        read(FileCache(tmp_path / "file" / "cache"), f"{server.address}/a.tar")


def test_names_in_the_same_folder():
    assert beside("/data/x.tar", "y") == "/data/y" and beside("x.tar", "y") == "y"
    assert beside("s3://bucket/x.tar", "y") == "s3://bucket/y"
    assert beside("https://host/a/x.tar?key=a/b", "y") == "https://host/a/y?key=a/b"
