"""The wire server's HTTP: reads requests and plays answers; it must not know a provider's words.

An asyncio protocol of its own, not ASGI: it can close a connection before any byte, and costs little CPU."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

import httptools

from orchestrator.adapters.wire.app import Played, Request, WireApp
from orchestrator.core.errors import ConfigError


class Connection(asyncio.Protocol):
    """One client connection; requests on it are answered one after the other."""

    def __init__(self, app: WireApp) -> None:
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._playing: asyncio.Task[None] | None = None
        self._waiting: list[Request] = []
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._app.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._app.connections.discard(self)
        self._writable.set()
        if self._playing is not None:
            self._playing.cancel()

    def close(self) -> None:
        self._transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(head(400, b"text/plain", 0, b"connection: close\r\n"))
            self._transport.close()

    # httptools' callbacks, in the order they come

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if b"expect" in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        path = self._url.partition(b"?")[0].decode("latin-1")
        method = self._parser.get_method()
        request = Request(method, path, self._headers, self._body, self._parser.should_keep_alive())
        if self._playing is None:
            self._begin(request)
        else:
            self._waiting.append(request)

    def _begin(self, request: Request) -> None:
        played = self._app.respond(request)
        if played.instant:
            self._write_whole(played, request.keep_alive)
            played.ended("whole")
        else:
            self._playing = self._loop.create_task(self._play(played, request.keep_alive))

    async def _play(self, played: Played, keep_alive: bool) -> None:
        try:
            await self._perform(played, keep_alive)
        except asyncio.CancelledError:
            played.ended("left")
            raise
        played.ended("whole")
        self._playing = None
        if self._waiting:
            self._begin(self._waiting.pop(0))

    async def _perform(self, played: Played, keep_alive: bool) -> None:
        if played.latency_s:
            await asyncio.sleep(played.latency_s)
        if played.act == "hang":
            await asyncio.Event().wait()
        if played.act == "drop":
            self._transport.close()
        elif played.events is not None:
            await self._stream(played, played.events, keep_alive)
        else:
            self._write_whole(played, keep_alive)

    def _write_whole(self, played: Played, keep_alive: bool) -> None:
        data = head(played.status, played.content_type, len(played.body), played.extra) + played.body
        if played.act == "cut":
            data = data[: len(data) - len(played.body) // 2 - 1]
        self._transport.write(data)
        if played.act == "cut" or not keep_alive:
            self._transport.close()

    async def _stream(self, played: Played, events: list[bytes], keep_alive: bool) -> None:
        events = events[: played.after_events] if played.act == "cut" else events
        self._transport.write(head(played.status, b"text/event-stream; charset=utf-8", None, played.extra))
        if played.event_s:
            for number, event in enumerate(events):
                # The pause stands before an event, never after the last: a client may go once it has read that.
                await asyncio.sleep(played.event_s if number else 0)
                await self._writable.wait()
                self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        else:
            self._transport.write(b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events))
        if played.act != "cut":
            self._transport.write(b"0\r\n\r\n")
        if played.act == "cut" or not keep_alive:
            self._transport.close()


def head(status: int, content_type: bytes, length: int | None, extra: bytes) -> bytes:
    """Status line and headers; a length of None announces chunks."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"%b\r\ncontent-type: %b\r\n%b\r\n%b\r\n" % (_status_line(status), content_type, framing, extra)


def _status_line(status: int) -> bytes:
    if status == 200:
        return b"HTTP/1.1 200 OK"
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Overloaded"
    return f"HTTP/1.1 {status} {phrase}".encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wire:
    """A wire server that runs: its address and, in the same process, its script and counts (`app`)."""

    url: str
    app: WireApp


@contextlib.asynccontextmanager
async def serve(app: WireApp | None = None, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Wire]:
    """Serves inside the running loop until left; port 0 takes a free one. Raises ConfigError."""
    app = app or WireApp()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(app), host, port, backlog=1024)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error
    bound = server.sockets[0].getsockname()[1]
    try:
        yield Wire(url=f"http://{host}:{bound}", app=app)
    finally:
        server.close()
        for connection in list(app.connections):
            connection.close()
        await asyncio.sleep(0)
