"""The story every SDK adapter shares: ask, read, translate errors; streams with time limits. It does not retry."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from typing import Any, ClassVar

import httpx2
from pydantic import BaseModel

from orchestrator.adapters.providers.failures import (
    CONNECTION_ERRORS,
    Failures,
    connect_timeout_s,
    request_id,
)
from orchestrator.adapters.providers.protocol import Gatherer, WireProtocol
from orchestrator.adapters.providers.reading import Unreadable, json_object
from orchestrator.core.types import Call, Delta, Reply


class SdkStream(ABC):
    """What both SDKs' streams are: an async iterator of events that can be closed, and its HTTP response."""

    response: httpx2.Response

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Any]: ...
    @abstractmethod
    async def close(self) -> None: ...


class SdkProvider(ABC):
    """A `Provider` over one SDK client with one pool of connections.

    `call.timeout_s` bounds the whole of `complete`; of a stream it bounds the time to the first event and
    between events. `wire`, `endpoint` and `headers` let `PlainProvider` ask the same without the SDK."""

    sdk_error: ClassVar[type[Exception]]
    status_error: ClassVar[type[Exception]]

    wire: WireProtocol
    endpoint: str
    headers: Mapping[str, str]
    _api_key: str | None

    @abstractmethod
    async def _ask(self, payload: dict[str, Any], limits: httpx2.Timeout) -> tuple[bytes, Mapping[str, str]]:
        """The body and the headers of a non-streamed answer."""

    @abstractmethod
    async def _open(self, payload: dict[str, Any], limits: httpx2.Timeout) -> Any:
        """An `SdkStream`."""

    @abstractmethod
    async def close(self) -> None: ...

    def failures(self, call: Call) -> Failures:
        return Failures(self.wire.provider, call, self._api_key)

    async def complete(self, call: Call) -> Reply:
        payload = self.wire.payload(call)
        with self._translated(self.failures(call)):
            async with asyncio.timeout(call.timeout_s):
                content, headers = await self._ask(payload, _timeout(call))
            return self.wire.reply(json_object(content), request_id(headers))

    def stream(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        return self._stream(call)

    @asynccontextmanager
    async def _stream(self, call: Call) -> AsyncIterator[AsyncIterator[Delta]]:
        payload, failures = self.wire.stream_payload(call), self.failures(call)
        with self._translated(failures):
            async with asyncio.timeout(call.timeout_s):
                opened = await self._open(payload, _timeout(call))
        try:
            async with aclosing(self._deltas(opened, call, failures)) as deltas:
                yield deltas
        finally:
            await opened.close()

    async def _deltas(self, opened: SdkStream, call: Call, failures: Failures) -> AsyncGenerator[Delta, None]:
        gathered = self.wire.gather(request_id(opened.response.headers))
        events = aiter(opened)
        while True:
            with self._translated(failures, lambda: gathered.text):
                async with asyncio.timeout(call.timeout_s):
                    event = await anext(events, None)
                delta = _delta(event, gathered)
            if delta.text or delta.reply:
                yield delta
            if delta.reply:
                return

    @contextmanager
    def _translated(self, failures: Failures, partial: Callable[[], str] | None = None) -> Iterator[None]:
        """Library errors become ours; `partial` tells the text so far once a stream has begun."""
        try:
            yield
        except Unreadable as error:
            raise failures.broken(str(error), partial() if partial else None) from error
        except self.status_error as error:
            raise self._of_status(error, failures, partial) from error
        except (self.sdk_error, *CONNECTION_ERRORS, ValueError) as error:
            raise self._of_other(error, failures, partial) from error

    def _of_status(self, error: Any, failures: Failures, partial: Callable[[], str] | None) -> Exception:
        if partial is not None or error.status_code < 300:
            return failures.said(error.message, partial() if partial else "")
        return failures.of_status(error.status_code, error.response.headers, _content(error.response))

    def _of_other(self, error: Exception, failures: Failures, partial: Callable[[], str] | None) -> Exception:
        text = partial() if partial else None
        if isinstance(error, ValueError) and not isinstance(error, CONNECTION_ERRORS):
            return failures.broken(f"the stream is not readable: {error}", text)
        if isinstance(error, self.sdk_error) and error.__cause__ is None and error.__context__ is None:
            return failures.said(str(error), text)
        return failures.of_connection(error, text)


def _delta(event: Any, gathered: Gatherer) -> Delta:
    if event is None:
        return Delta(reply=gathered.reply())
    if isinstance(event, BaseModel):
        event = event.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    if not isinstance(event, Mapping):
        raise Unreadable(f"an event of the stream is a {type(event).__name__}, expected an object")
    return Delta(text=gathered.take(event))


def _timeout(call: Call) -> httpx2.Timeout:
    connect_s = connect_timeout_s(call)
    return httpx2.Timeout(call.timeout_s, connect=connect_s, pool=connect_s)


def _content(response: httpx2.Response) -> bytes:
    try:
        return response.content
    except httpx2.ResponseNotRead:
        return b""
