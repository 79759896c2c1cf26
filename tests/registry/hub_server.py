"""A model hub on this machine: its true wire (tree, resolve, ranges, etags, redirects, refusals), and its faults."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "1" * 40
LARGE_BYTES = 1000  # from here on a file is in LFS, with a SHA-256 and behind a redirect


@dataclass
class Repository:
    """Files of one commit. `gated`: only with this token; `secret`: as if it did not exist without it."""

    files: dict[str, bytes]
    revision: str = COMMIT
    gated: str | None = None
    secret: str | None = None


@dataclass
class Hub:
    """What the server holds, what it shall do wrong, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """File → after how many bytes each of the next answers is cut off."""
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers, before anything else is looked at."""
    lies: dict[str, bytes] = field(default_factory=dict)
    """File → bytes that come instead of what is listed."""
    stalls: dict[str, int] = field(default_factory=dict)
    """File → after how many bytes an answer stops coming, without an end."""
    blobs_at: str | None = None
    """Another server that redirects lead to, as the hub's lead to a content network."""
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization of every request."""
    slow_s: float = 0.0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """(method, path, range) of every request."""
    url: str = ""

    def fetched(self, name: str) -> list[str | None]:
        """The ranges that were asked of one file's bytes; None is the whole."""
        return [range_ for method, path, range_ in self.asked if method == "GET" and path.endswith(f"/{name}")]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The server on a free port of the loopback, until the end of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None: ...

        def _answer(self) -> None:
            path = unquote(self.path.partition("?")[0])
            hub.asked.append((self.command, path, self.headers.get("Range")))
            hub.tokens.append(self.headers.get("Authorization"))
            if "harness" in path:
                return self._tell(404, {})
            if hub.failures:
                return self._tell(hub.failures.pop(0), {"error": "as told"})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
                return self._tree(found[1], found[2])
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self._resolve(found[1], found[2], found[3])
            if found := re.fullmatch(r"/blobs/([^/]+/[^/]+)/(.+)", path):
                return self._bytes(hub.repositories[found[1]], found[2])
            return self._tell(404, {})

        def _repository(self, hub_id: str, revision: str | None) -> Repository | None:
            found = hub.repositories.get(hub_id)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if found is None or (found.secret and token != found.secret):
                self._tell(404 if token else 401, {"error": "Repository not found"}, code="RepoNotFound")
                return None
            if revision not in (None, "main", found.revision):
                self._tell(404, {"error": "Revision not found"}, code="RevisionNotFound")
                return None
            return found

        def _tree(self, hub_id: str, revision: str | None) -> None:
            found = self._repository(hub_id, revision)
            if found is None:
                return
            siblings = [_sibling(name, data) for name, data in found.files.items()]
            told = {"id": hub_id, "sha": found.revision, "gated": "auto" if found.gated else False}
            self._tell(200, {**told, "siblings": siblings, "private": False, "tags": [], "downloads": 0, "likes": 0})

        def _resolve(self, hub_id: str, revision: str, name: str) -> None:
            found = self._repository(hub_id, revision)
            if found is None:
                return None
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if found.gated and token != found.gated:
                return self._tell(403 if token else 401, {"error": "Access is restricted"}, code="GatedRepo")
            if name not in found.files:
                return self._tell(404, {"error": "Entry not found"}, code="EntryNotFound")
            if len(found.files[name]) >= LARGE_BYTES:
                return self._redirect(found, hub_id, name)
            return self._bytes(found, name)

        def _redirect(self, found: Repository, hub_id: str, name: str) -> None:
            data = found.files[name]
            self.send_response(302)
            self.send_header("Location", f"{hub.blobs_at or hub.url}/blobs/{hub_id}/{name}")
            self.send_header("X-Repo-Commit", found.revision)
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _bytes(self, found: Repository, name: str) -> None:
            data = hub.lies.get(name, found.files[name])
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            self.send_response(206 if self.headers.get("Range") else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", found.revision)
            self.send_header("Accept-Ranges", "bytes")
            if self.headers.get("Range"):
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            body, cut = data[start:], hub.cuts.get(name)
            if cut:
                body = body[: cut.pop(0)]
                self.close_connection = True
            if hub.slow_s:
                threading.Event().wait(hub.slow_s)
            if name in hub.stalls:
                self.wfile.write(body[: hub.stalls[name]])
                self.wfile.flush()
                threading.Event().wait(30)
                return
            self.wfile.write(body)
            self.wfile.flush()
            if len(body) < len(data) - start:
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        def _tell(self, status: int, told: dict[str, Any], code: str | None = None) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", str(told.get("error")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    told: dict[str, Any] = {"rfilename": name, "size": len(data)}
    if len(data) >= LARGE_BYTES:
        return {
            **told,
            "blobId": "0" * 40,
            "lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 130},
        }
    return {**told, "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()}
