"""A server on the loopback that speaks the Hub's protocol, for downloads and for uploads, and can be told to fail.

It answers what ``huggingface_hub`` asks: model and revision info, the tree, ``resolve`` with ETag, ``X-Repo-Commit``,
``X-Linked-*`` and the redirect of large files, ranges, tokens, private and gated repositories; creating repositories,
``preupload``, LFS batches, commits. Plain files beside the repositories lie under ``/files/``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from zoo.data import transfer

LARGE = (".safetensors", ".pth", ".tar", ".bin")
"""The suffixes of files that the Hub keeps in LFS."""


@dataclass
class Repository:
    """A model repository: its commits, oldest first, each with all its files."""

    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], deleted: tuple[str, ...] = ()) -> str:
        """Add a commit that changes ``files``; its hash."""
        content = {**(self.commits[-1][1] if self.commits else {}), **files}
        content = {name: data for name, data in content.items() if name not in deleted}
        listing = "".join(f"{name}{hashlib.sha256(data).hexdigest()}" for name, data in sorted(content.items()))
        commit = hashlib.sha1(f"{len(self.commits)}{listing}".encode()).hexdigest()
        self.commits.append((commit, content))
        return commit

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files of a revision: "main" or a hash."""
        if revision == "main":
            return self.commits[-1] if self.commits else None
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Fault:
    """What goes wrong with requests whose path contains ``part``, the next ``times`` times.

    Attributes:
        status: is answered instead; 0 lets the answer begin and break off.
        after: bytes of the body after which a connection breaks off.
        methods: which requests are meant.
        headers: of the answer.
    """

    part: str
    status: int = 0
    after: int = 0
    times: int = 1_000_000
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT")
    headers: dict[str, str] = field(default_factory=dict)


class HubServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        address: such as ``http://127.0.0.1:40001``.
        repositories: by "owner/name".
        objects: large files of the repositories, by their sha256.
        files: plain files, by the name that follows ``/files/``.
        tokens: who is who, and may read and write everything.
        faults: what goes wrong; the first that fits a request is taken.
        requests: every request as (method, path, the Range that it asked for).
        ignores_ranges: answer with whole files always.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.cdn = f"http://localhost:{self.server_port}"  # another host, as with the Hub: no token is sent there
        self.repositories: dict[str, Repository] = {}
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens = {"hf_owner": "owner"}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []
        self.ignores_ranges = False
        self.lock = Lock()

    def publish(self, repo_id: str, files: dict[str, bytes], private: bool = False, gated: bool = False) -> str:
        """Commit ``files`` to a repository, which is made where it is missing; the hash of the commit."""
        repository = self.repositories.setdefault(repo_id, Repository())
        repository.private, repository.gated = private, gated
        large = [data for name, data in files.items() if name.endswith(LARGE)]
        self.objects.update((hashlib.sha256(data).hexdigest(), data) for data in large)
        return repository.commit(files)

    def add_file(self, name: str, data: bytes) -> str:
        """Put a plain file there; its address."""
        self.files[name] = data
        return f"{self.address}/files/{name}"

    def etag(self, data: bytes) -> str:
        """By what the version of a plain file is known."""
        return hashlib.md5(data).hexdigest()

    def fail(self, part: str, status: int = 0, after: int = 0, times: int = 1_000_000, **more: Any) -> None:
        """From now on let requests fail, see `Fault`."""
        self.faults.append(Fault(part, status, after, times, **more))

    def downloads(self, part: str) -> list[str]:
        """The Range of every GET whose path contains ``part``, "" where it asked for all; redirects do not count."""
        with self.lock:
            return [
                r for method, path, r in self.requests if method == "GET" and part in path and "/resolve/" not in path
            ]

    def stop(self) -> None:
        """Answer no more: connections are refused."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Say nothing when a client goes away."""


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.requests.append((self.command, self.path, self.headers.get("Range") or ""))
            self.fault = next(
                (f for f in self.server.faults if f.times and f.part in self.path and self.command in f.methods), None
            )
            if self.fault:
                self.fault.times -= 1
        if self.fault and self.fault.status:
            return self._send(self.fault.status, b"told to fail", self.fault.headers)
        path = urlsplit(self.path).path
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split("|"):
                return action(self, *map(unquote, match.groups()))
        self._send(404, b"there is no such page")

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault and not self.fault.status and self.fault.after < len(body):
            self.wfile.write(body[: self.fault.after])
            self.close_connection = True
            return
        self.wfile.write(body)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _content(self, data: bytes, headers: dict[str, str], etag: str) -> None:
        """Data, or the part of it that the request's Range asks for."""
        headers = {**headers, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        unchanged = self.headers.get("If-Range") in (None, f'"{etag}"')
        if not wanted or not unchanged or self.server.ignores_ranges:
            return self._send(200, data, headers)
        start, end = int(wanted[1]), int(wanted[2] or len(data) - 1)
        if start >= len(data):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self._send(206, data[start : end + 1], headers)

    # Downloads

    def file(self, name: str) -> None:
        data = self.server.files.get(name)
        if data is None:
            return self._send(404, b"there is no such file")
        self._content(data, {}, self.server.etag(data))

    def cdn(self, oid: str) -> None:
        data = self.server.objects[oid]
        self._content(data, {}, oid)

    def _readable(self, repo_id: str) -> Repository | None:
        """The repository, or None after the answer that it may not be read."""
        repository = self.server.repositories.get(repo_id)
        user = self._user()
        if repository is None or (repository.private and not user):
            # The Hub hides what is private from strangers, and asks them to log in.
            self._error(404 if user else 401, "RepoNotFound", "Repository not found")
            return None
        if repository.gated and not user:
            self._error(401, "GatedRepo", f"Access to model {repo_id} is restricted. You must be authenticated")
            return None
        return repository

    def _user(self) -> str | None:
        return self.server.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def resolve(self, repo_id: str, revision: str, name: str) -> None:
        repository = self._readable(repo_id)
        if repository is None:
            return None
        found = repository.at(revision)
        if found is None:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        commit, files = found
        data = files.get(name)
        if data is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": commit}
            return self._send(404, b"Entry not found", headers)
        headers = {"X-Repo-Commit": commit}
        if not name.endswith(LARGE):
            return self._content(data, headers, _git_hash(data))
        oid = hashlib.sha256(data).hexdigest()
        location = f"{self.server.cdn}/cdn/{oid}/{name}"
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data)), "Location": location}
        self._send(302, b"", headers | linked)

    def info(self, repo_id: str, revision: str = "main") -> None:
        repository = self._readable(repo_id)
        if repository is None:
            return None
        found = repository.at(revision)
        if found is None and repository.commits:
            return self._error(404, "RevisionNotFound", "Invalid rev id")
        commit, files = found or ("", {})
        siblings = [{"rfilename": name, "size": len(data)} for name, data in sorted(files.items())]
        answer = {"_id": "0", "id": repo_id, "modelId": repo_id, "sha": commit, "private": repository.private}
        self._json({**answer, "gated": repository.gated, "tags": [], "siblings": siblings})

    def tree(self, repo_id: str, revision: str) -> None:
        repository = self._readable(repo_id)
        if repository is None:
            return
        _, files = repository.at(revision) or ("", {})
        entries = []
        for name, data in sorted(files.items()):
            entries.append({"type": "file", "path": name, "size": len(data), "oid": _git_hash(data)})
            if name.endswith(LARGE):
                entries[-1]["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        self._json(entries)

    # Uploads

    def whoami(self) -> None:
        user = self._user()
        if user is None:
            return self._error(401, "", "Invalid credentials in Authorization header")
        self._json({"type": "user", "name": user, "orgs": [], "auth": {"type": "access_token"}})

    def create(self) -> None:
        wanted = json.loads(self.body)
        user = self._user()
        if user is None:
            return self._error(401, "", "Invalid username or password.")
        repo_id = f"{wanted.get('organization') or user}/{wanted['name']}"
        if repo_id in self.server.repositories:
            there = {"error": "You already created this model repo", "url": f"{self.server.address}/{repo_id}"}
            return self._json(there, 409)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.server.publish(repo_id, {".gitattributes": b""}, private=private)
        self._json({"url": f"{self.server.address}/{repo_id}", "id": "0", "name": repo_id})

    def validate(self) -> None:
        self._json({"errors": [], "warnings": []})

    def _writable(self, repo_id: str) -> Repository | None:
        repository = self._readable(repo_id)
        if repository is not None and self._user() is None:
            self._error(403, "", "You need write access to this repository")
            return None
        return repository

    def preupload(self, repo_id: str, revision: str) -> None:
        repository = self._writable(repo_id)
        if repository is None:
            return
        names = [entry["path"] for entry in json.loads(self.body)["files"]]
        modes = [(name, "lfs" if name.endswith(LARGE) else "regular") for name in names]
        self._json({"files": [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes]})

    def lfs_batch(self, repo_id: str) -> None:
        objects = []
        for entry in json.loads(self.body)["objects"]:
            action = {"upload": {"href": f"{self.server.address}/upload/{entry['oid']}"}}
            known = entry["oid"] in self.server.objects
            objects.append({"oid": entry["oid"], "size": entry["size"]} | ({} if known else {"actions": action}))
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._send(400, b"another hash")
        with self.server.lock:
            self.server.objects[oid] = self.body
        self._send(200)

    def commit(self, repo_id: str, revision: str) -> None:
        repository = self._writable(repo_id)
        if repository is None:
            return None
        files, deleted = {}, []
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self._error(400, "", f"{value['path']} was not uploaded")
                files[value["path"]] = self.server.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                deleted.append(value["path"])
        wants_request = "create_pr" in parse_qs(urlsplit(self.path).query)
        oid = repository.commit(files, tuple(deleted))
        url = f"{self.server.address}/{repo_id}"
        request = f"{url}/discussions/1" if wants_request else None
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}", "pullRequestUrl": request})


REPO, REV = r"([^/]+/[^/]+)", r"([^/]+)"
ROUTES = (
    ("GET|HEAD", r"/files/(.+)", _Handler.file),
    ("GET|HEAD", r"/cdn/([0-9a-f]{64})/.*", _Handler.cdn),
    ("GET|HEAD", rf"/{REPO}/resolve/{REV}/(.+)", _Handler.resolve),
    ("GET", r"/api/whoami-v2", _Handler.whoami),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("GET", rf"/api/models/{REPO}", _Handler.info),
    ("GET", rf"/api/models/{REPO}/revision/{REV}", _Handler.info),
    ("GET", rf"/api/models/{REPO}/tree/{REV}/?", _Handler.tree),
    ("POST", rf"/api/models/{REPO}/preupload/{REV}", _Handler.preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/upload/([0-9a-f]{64})", _Handler.upload),
    ("POST", rf"/api/models/{REPO}/commit/{REV}", _Handler.commit),
)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def running() -> Iterator[HubServer]:
    """A server that answers until the end of the block."""
    with HubServer() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server, with ``huggingface_hub`` and the zoo's cache set to it and to ``tmp_path``.

    The settings are in the environment, for further processes, and in this one, where they are read already.
    """
    from huggingface_hub import constants, file_download, hf_api
    from huggingface_hub.utils import _http

    with running() as server:
        home = tmp_path / "hf"
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "ZOO_HUB_ORG"):
            monkeypatch.delenv(name, raising=False)
        environment = {"HF_ENDPOINT": server.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        for name, value in (environment | {"ZOO_CACHE": str(tmp_path / "zoo")}).items():
            monkeypatch.setenv(name, value)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        settings: dict[str, Any] = {"ENDPOINT": server.address, "HUGGINGFACE_CO_URL_TEMPLATE": template}
        settings |= {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "HF_HUB_DISABLE_XET": True}
        settings |= {"HF_TOKEN_PATH": str(home / "token"), "HF_HUB_OFFLINE": False}
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", server.address)
        monkeypatch.setattr(transfer, "PAUSE_S", 0)
        # Its client tries again for 23 seconds, with pauses.
        for module in (_http, file_download):
            monkeypatch.setattr(module, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield server
