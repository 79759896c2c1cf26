"""A failed call → our tree of errors, with what the provider said; it must not retry nor decide what follows.

Unbilled is claimed only where it is provable: the provider refused, or no connection was ever made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import httpx2
import orjson

from orchestrator.core.errors import (
    CallBroken,
    CallFailed,
    CallRateLimited,
    CallRefused,
    CallTimedOut,
    CallUnauthorized,
    CallUnreachable,
)
from orchestrator.core.types import Call

UNAUTHORIZED = frozenset({401, 402, 403})
RATE_LIMITED = frozenset({429, 503, 529})
"""529 is Anthropic's overloaded_error; 503 is OpenAI's and DeepSeek's overloaded server."""
NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    httpx2.UnsupportedProtocol,
)
CONNECTION_ERRORS = (aiohttp.ClientError, httpx2.HTTPError, httpx2.StreamError, OSError, TimeoutError)
CONNECT_TIMEOUT_S = 5.0
MESSAGE_CHARACTERS = 300
SHORTEST_HIDDEN = 8
"""Shorter pieces of a prompt (`Hi!`) are too common as words to be hidden from a provider's message."""


def connect_timeout_s(call: Call) -> float:
    """Well below the call's own limit, so that never connecting is told apart from never answering."""
    return min(CONNECT_TIMEOUT_S, call.timeout_s / 2)


class Failures:
    """Makes the errors of one call. Messages name provider, model and status; never the key or the prompt."""

    def __init__(self, provider: str, call: Call, api_key: str | None) -> None:
        self._provider, self._call, self._key = provider, call, api_key
        self._details: dict[str, Any] = {"provider": provider, "model": call.model_id}

    def of_status(self, status: int, headers: Mapping[str, str], content: bytes) -> CallFailed:
        """For an HTTP status of 300 or above."""
        said = self._clean(provider_message(content))
        what = f"{self._provider} answered {self._call.api_model} with status {status}: {said or 'no message'}"
        details = {**self._details, "status": status, "request_id": request_id(headers)}
        if status in UNAUTHORIZED:
            return CallUnauthorized(f"{what}. Check the key and the account's credit.", **details)
        if status in RATE_LIMITED:
            wait_s = retry_after_s(headers, datetime.now(UTC))
            return CallRateLimited(f"{what}. {_advice(wait_s)}", retry_after_s=wait_s, **details)
        if status == 408:
            return CallTimedOut(what, **details)
        return CallRefused(what, **details) if 400 <= status < 500 else CallBroken(what, **details)

    def of_connection(self, error: BaseException, partial_text: str | None = None) -> CallFailed:
        """For an error of the transport: never connected, too slow, or lost after the request was sent."""
        chain = tuple(_chain(error))
        if partial_text is None and any(isinstance(e, NEVER_CONNECTED) for e in chain):
            return CallUnreachable(
                f"cannot connect to {self._provider} for {self._call.api_model}: {self._clean(_innermost(chain))}. "
                "Check the base URL and the network.",
                **self._details,
            )
        # aiohttp's own error decides where there is one: openai's transport calls a lost connection a timeout.
        deciding = [e for e in chain if isinstance(e, aiohttp.ClientError)] or chain
        if any(isinstance(e, TimeoutError | httpx2.TimeoutException) for e in deciding):
            return self.timed_out(partial_text)
        return self.broken(f"the connection was lost: {self._clean(_innermost(chain))}", partial_text)

    def timed_out(self, partial_text: str | None = None) -> CallTimedOut:
        what = "no answer" if partial_text is None else "no further event"
        details = self._with_partial(partial_text)
        message = f"{self._provider} sent {what} for {self._call.api_model} within {self._call.timeout_s:g} s"
        return CallTimedOut(message, timeout_s=self._call.timeout_s, **details)

    def broken(self, why: str, partial_text: str | None = None) -> CallBroken:
        message = f"{self._provider} did not finish {self._call.api_model}: {why}"
        return CallBroken(message, **self._with_partial(partial_text))

    def said(self, message: str, partial_text: str | None) -> CallBroken:
        """For an error event inside a stream that had begun with status 200."""
        return self.broken(f"error inside the stream: {self._clean(message)}", partial_text)

    def _with_partial(self, partial_text: str | None) -> dict[str, Any]:
        return self._details if partial_text is None else {**self._details, "partial_text": partial_text}

    def _clean(self, message: str) -> str:
        hidden = [m.content for m in self._call.messages if len(m.content) >= SHORTEST_HIDDEN]
        for secret in [self._key, *hidden]:
            if secret:
                message = message.replace(secret, "…")
        return message.strip()[:MESSAGE_CHARACTERS].rstrip(".")


def provider_message(content: bytes) -> str:
    """The words of an error body: `error.message`, `error`, `message` or `detail`, else its beginning."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content[:MESSAGE_CHARACTERS].decode("utf-8", "replace")
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = next((error[name] for name in ("message", "detail") if error.get(name)), error)
    return error if isinstance(error, str) else orjson.dumps(error).decode()


def request_id(headers: Mapping[str, str]) -> str | None:
    """Anthropic's or OpenAI's id of the request."""
    return headers.get("request-id") or headers.get("x-request-id")


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Retry-After in seconds or as an HTTP date (RFC 9110 §10.2.3), or OpenAI's retry-after-ms; else None."""
    with suppress(ValueError):
        milliseconds = float(headers.get("retry-after-ms", ""))
        return milliseconds / 1000 if 0 <= milliseconds < float("inf") else None
    value = headers.get("retry-after", "")
    with suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else None
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())


def _advice(wait_s: float | None) -> str:
    return "Try again later." if wait_s is None else f"Try again in {wait_s:g} s."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _innermost(chain: tuple[BaseException, ...]) -> str:
    """The transport's own words: a library's wrapper only says "Connection error."."""
    for error in chain:
        if isinstance(error, aiohttp.ClientError | OSError) and str(error):
            return str(error)
    return str(chain[0]) or type(chain[0]).__name__
