"""The same wires for the plain, non-streamed call over one pooled aiohttp session: an eighth of an SDK call's CPU.

Held to the SDK adapter's behaviour by the same contract test; streams are the SDK adapter's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import aiohttp
import orjson

from orchestrator.adapters.providers.failures import CONNECTION_ERRORS, connect_timeout_s, request_id
from orchestrator.adapters.providers.reading import Unreadable, json_object
from orchestrator.adapters.providers.sdk import SdkProvider
from orchestrator.core.types import Call, Delta, Reply

POOL_CONNECTIONS = 1000
"""As many as the SDKs' own pools."""


def pooled_session() -> aiohttp.ClientSession:
    """One session for every PlainProvider of a process; made inside the running loop, closed by its maker."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=POOL_CONNECTIONS, limit_per_host=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "pennyroute",
        },
    )


class PlainProvider:
    """A `Provider`: `complete` goes over the session, `stream` and `close` are `inner`'s.

    Without a session it opens its own at the first call and closes it with `close`."""

    def __init__(self, inner: SdkProvider, session: aiohttp.ClientSession | None = None) -> None:
        self._inner, self._shared = inner, session
        self._own: aiohttp.ClientSession | None = None
        self._wire, self._endpoint, self._headers = inner.wire, inner.endpoint, dict(inner.headers)

    async def complete(self, call: Call) -> Reply:
        body = orjson.dumps(self._wire.payload(call))
        timeout = aiohttp.ClientTimeout(total=call.timeout_s, connect=connect_timeout_s(call))
        try:
            async with self._session().post(
                self._endpoint, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await response.read()
            if response.status >= 300:
                raise self._inner.failures(call).of_status(response.status, response.headers, content)
            return self._wire.reply(json_object(content), request_id(response.headers))
        except Unreadable as error:
            raise self._inner.failures(call).broken(str(error)) from error
        except CONNECTION_ERRORS as error:
            raise self._inner.failures(call).of_connection(error) from error

    def stream(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        return self._inner.stream(call)

    async def close(self) -> None:
        await self._inner.close()
        if self._own is not None:
            await self._own.close()
            self._own = None

    def _session(self) -> aiohttp.ClientSession:
        if self._shared is not None:
            return self._shared
        if self._own is None:
            self._own = pooled_session()
        return self._own
