"""A server that answers as the Hugging Face Hub does, for the real client of `huggingface_hub`."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from local_http_server import LocalHttpServer

LARGE = ".safetensors"
"""Files that lie beside the repository, as LFS has them."""


@dataclass
class Repository:
    """A model: its commits, what its branches mean, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    """Only whoever sends it may read."""
    gated: bool = False
    """Everybody may see that it is there."""

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """Set a branch to new files; return the commit."""
        name = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name


class HubServer(LocalHttpServer):
    """The Hub, with the models that a test gives it."""

    def __init__(self) -> None:
        """Have no models yet."""
        super().__init__(_Handler)
        self.models: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path of each request."""
        self.damaged: set[str] = set()
        """Names of files of which a bit is turned over on the way."""
        self.lock = Lock()

    def downloads(self) -> list[str]:
        """Return the names of the files that were read, as often as they were."""
        got = (path.partition("/resolve/")[2] for method, path in self.requests if method == "GET")
        return sorted(place.partition("/")[2] for place in got if place)


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests.append((self.command, path))
        told = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = told or file
        if found is None:
            return self._send(404, b"{}")
        repository = self.server.models.get(found[1])
        sent = self.headers.get("Authorization")
        if repository is None or (repository.token and sent != f"Bearer {repository.token}"):
            return self._refuse(repository)
        revision = found[2] or "main"
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = repository.commits[commit]
        if told:
            return self._send(200, json.dumps(_info(found[1], commit, files)).encode())
        assert file is not None
        return self._file(commit, file[3], files.get(file[3]))

    def _refuse(self, repository: Repository | None) -> None:
        if repository is not None and repository.gated:
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        # As the Hub has it: whoever sends no token is not told that there is nothing.
        status = 404 if self.headers.get("Authorization") else 401
        return self._send(status, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _file(self, commit: str, name: str, data: bytes | None) -> None:
        if data is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_sha256(data)}"', "Accept-Ranges": "bytes"}
        if name in self.server.damaged:
            data = bytes([data[0] ^ 1]) + data[1:]
        return self._send(200, data, headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _info(name: str, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "_id": "0",
        "id": name,
        "modelId": name,
        "sha": commit,
        "private": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [_sibling(name, data) for name, data in files.items()],
    }


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    found: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
    if name.endswith(LARGE):
        found["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 130}
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
