"""A small hub on the loopback: what of its interface is used here, and the ways in which a hub fails.

A stand-in, as no hub can be reached from a test. Paths, headers and error codes are those that huggingface_hub expects.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 2000
"""Bytes from which on a file is kept apart from git, and its SHA-256 is told."""


@dataclass
class Repository:
    """Revisions (branches, tags and commits) by name, and the files of each commit."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    licence: str = "apache-2.0"

    def commit(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit at the head of a branch; its name follows from its content."""
        digest = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[digest] = dict(files)
        self.branches[branch] = digest
        return digest

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


@dataclass
class Hub:
    """Attributes: repositories by `models/ID` or `datasets/ID`, access tokens that may read what is gated, statuses to answer
    with before any other answer, bytes after which the next files break off, and whether ranges are understood."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    damaged: set[str] = field(default_factory=set)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    def repository(self, name: str, kind: str = "models") -> Repository:
        return self.repositories.setdefault(f"{kind}/{name}", Repository())


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((path, self.headers.get("Range")))
        if self.hub.failures:
            status, headers = self.hub.failures.pop(0)
            return self._refuse(status, **headers)
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/revision/(.+)", path):
            return self._information(*found.groups())
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*found.groups())
        if found := re.fullmatch(r"/raw/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path):
            return self._raw(*found.groups())
        if found := re.fullmatch(r"/api/repos/([^/]+/[^/]+)/git/trees/([0-9a-f]{40})", path):
            return self._tree(*found.groups())
        return self._refuse(404)

    def _raw(self, name: str, commit: str, file: str) -> None:
        """A file of a commit as raw.githubusercontent.com has it."""
        repository = self.hub.repositories.get(f"models/{name}")
        if repository is None or file not in repository.commits.get(commit, {}):
            return self._refuse(404)
        return self._file(name, commit, file)

    def _tree(self, name: str, commit: str) -> None:
        """What there is at a commit, as api.github.com tells it."""
        repository = self.hub.repositories.get(f"models/{name}")
        if repository is None or commit not in repository.commits:
            return self._refuse(404)
        files = [_described(file, data) for file, data in sorted(repository.commits[commit].items())]
        tree = [
            {"path": file["rfilename"], "type": "blob", "sha": file["blobId"], "size": file["size"]} for file in files
        ]
        return self._send(json.dumps({"tree": [{"path": "results", "type": "tree", "sha": "0" * 40}, *tree]}).encode())

    def do_HEAD(self) -> None:
        """What `datasets` asks before it reads: is the repository there, and may it be read?"""
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((path, None))
        found = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository = self.hub.repositories.get(f"datasets/{found[1]}") if found else None
        if repository is None:
            return self._refuse(404, X_Error_Code="RepoNotFound")
        if repository.gated and self._token() not in self.hub.tokens:
            return self._refuse(403 if self._token() else 401, X_Error_Code="GatedRepo")
        return self._refuse(404, X_Error_Code="EntryNotFound")

    def _information(self, kind: str, name: str, revision: str) -> None:
        repository = self.hub.repositories.get(f"{kind}/{name}")
        if repository is None:
            return self._refuse(401 if "Authorization" not in self.headers else 404, X_Error_Code="RepoNotFound")
        commit = repository.resolve(revision)
        if commit is None:
            return self._refuse(404, X_Error_Code="RevisionNotFound")
        listed = [_described(file, data) for file, data in sorted(repository.commits[commit].items())]
        told = {"id": name, "sha": commit, "siblings": listed, "tags": [f"license:{repository.licence}"]}
        return self._send(json.dumps(told | {"cardData": {"license": repository.licence}}).encode())

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self.hub.repositories.get(f"models/{name}")
        if repository is None:
            return self._refuse(404, X_Error_Code="RepoNotFound")
        if repository.gated and self._token() not in self.hub.tokens:
            return self._refuse(403 if self._token() else 401, X_Error_Code="GatedRepo")
        data = repository.commits.get(repository.resolve(revision) or "", {}).get(file)
        if data is None:
            return self._refuse(404, X_Error_Code="EntryNotFound")
        if file in self.hub.damaged:
            data = bytes([data[0] ^ 1]) + data[1:]
        start = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if start and self.hub.ranges:
            offset, end = int(start[1]), min(int(start[2] or len(data)), len(data) - 1)
            return self._send(data[offset : end + 1], 206, {"Content-Range": f"bytes {offset}-{end}/{len(data)}"})
        return self._send(data)

    def _token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def _send(self, data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if len(data) > LARGE and self.hub.breaks:
            data = data[: self.hub.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(data)
        self.hub.sent += len(data)

    def _refuse(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def _described(file: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    entry: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": blob}
    if len(data) > LARGE:
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


class Serving:
    """Serves a hub on a free port of the loopback, inside a `with`."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        handler = type("Handler", (_Handler,), {"hub": hub})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        self.hub.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self.hub

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
