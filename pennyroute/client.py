"""The two clients: send an `Ask`, retry what was certainly not begun, raise what the server tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import cached_property, partialmethod
from typing import Any, Self, TypeVar, Unpack

import httpx

from pennyroute import asks
from pennyroute.answer import Answer, Found
from pennyroute.asks import About, Ask, How, Input
from pennyroute.errors import PennyrouteError, Unreachable, from_problem

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8000"
# A caller waits: a server that asks for more patience than this is told of instead.
MAX_PAUSE_S = 30
FIRST_PAUSE_S = 0.2


class _Client:
    """What both share. `max_retries=0` opts out of retries; they follow only a refused connection or a 429."""

    def __init__(
        self, url: str = DEFAULT_URL, key: str | None = None, *, timeout_s: float = 120.0, max_retries: int = 2
    ) -> None:
        self.url, self._max_retries = url.rstrip("/"), max_retries
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0))
        self._settings: dict[str, Any] = {"base_url": self.url, "headers": headers, "timeout": timeout}

    def _pause_s(self, outcome: httpx.Response | httpx.TransportError, tries: int) -> float | None:
        """Seconds until the next try; None: this outcome stands."""
        if tries >= self._max_retries:
            return None
        if isinstance(outcome, httpx.Response):
            after = outcome.headers.get("retry-after", "") if outcome.status_code == 429 else ""
            return float(after) if after.isdigit() and int(after) <= MAX_PAUSE_S else None
        return FIRST_PAUSE_S * 2**tries if isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout) else None

    def _good(self, outcome: httpx.Response | httpx.TransportError) -> httpx.Response:
        """The response, or what went wrong raised as PennyrouteError."""
        if isinstance(outcome, httpx.TransportError):
            told = str(outcome) or type(outcome).__name__
            raise Unreachable(f"no answer from {self.url}: {told}", code="unreachable") from outcome
        if outcome.is_error:
            raise _problem_of(outcome)
        return outcome


class Pennyroute(_Client):
    """`Pennyroute(url, key).route("Hi!").output`; close it, or use `with`. Every call raises PennyrouteError."""

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(**self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def route(self, input: Input, **how: Unpack[How]) -> Answer:
        return self.send(asks.route(input, how))

    def explain(self, input: Input, **how: Unpack[How]) -> Any:
        """What `route` would do with the same arguments and why; asks no model and costs nothing."""
        return self.send(asks.explain(input, how))

    def stream(self, input: Input, **how: Unpack[How]) -> Iterator[str | Answer]:
        """Pieces of text as they come, then the whole Answer."""
        ask = asks.route(input, how, stream=True)
        response, events = self._open(ask, stream=True), asks.Events(ask.read)
        try:
            for line in response.iter_lines():
                yield from events.feed(line)
        except httpx.TransportError as error:
            self._good(error)
        finally:
            response.close()

    embed = partialmethod(route, task="embed")  # store=True keeps the texts for `search`
    sentiment = partialmethod(route, task="sentiment")
    toxicity = partialmethod(route, task="toxicity")
    rerank = partialmethod(route, task="rerank")  # with query=
    classify = partialmethod(route, task="classify")  # with labels=
    ocr = partialmethod(route, task="ocr")  # a path or bytes, as the three below
    document = partialmethod(route, task="document")  # with query=, what is asked of the page
    vision = partialmethod(route, task="vision")  # with labels=, query=, compare= or profile=; else its vector
    transcribe = partialmethod(route, task="transcribe")

    def search(self, query: str, *, limit: int = 10, model: str | None = None) -> tuple[Found, ...]:
        return self.send(asks.search(query, limit, model))

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Any other path of the API; returns its JSON."""
        return self.send(asks.plain(method, path, body, params))

    def label(self, outcomes: Mapping[str, float], **about: Unpack[About]) -> Any:
        """How good each model's answer was, from 0 to 1: `label({"claude-sonnet": 1.0}, request_id=answer.id)`."""
        return self.send(asks.label(outcomes, about))

    def contracts(self) -> Any:
        """What is promised of each task class, and how it stands."""
        return self.call("GET", "/contracts")

    def models(self) -> Any:
        return self.call("GET", "/models")

    def inference(self, id: str) -> Any:
        return self.call("GET", f"/inferences/{id}")

    def send(self, ask: Ask[T]) -> T:
        return ask.read(self._open(ask).json())

    def _open(self, ask: Ask[Any], *, stream: bool = False) -> httpx.Response:
        tries = 0
        while (pause_s := self._pause_s(outcome := self._try(ask, stream), tries)) is not None:
            time.sleep(pause_s)
            tries += 1
        return self._good(outcome)

    def _try(self, ask: Ask[Any], stream: bool) -> httpx.Response | httpx.TransportError:
        try:
            response = self._http.send(self._http.build_request(**ask.request()), stream=stream)
            if response.is_error:
                response.read()
        except httpx.TransportError as error:
            return error
        return response


class AsyncPennyroute(_Client):
    """`async with AsyncPennyroute(url, key) as client: (await client.route("Hi!")).output`."""

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def route(self, input: Input, **how: Unpack[How]) -> Answer:
        return await self.send(asks.route(input, how))

    async def explain(self, input: Input, **how: Unpack[How]) -> Any:
        return await self.send(asks.explain(input, how))

    async def stream(self, input: Input, **how: Unpack[How]) -> AsyncIterator[str | Answer]:
        """Pieces of text as they come, then the whole Answer."""
        ask = asks.route(input, how, stream=True)
        response, events = await self._open(ask, stream=True), asks.Events(ask.read)
        try:
            async for line in response.aiter_lines():
                for piece in events.feed(line):
                    yield piece
        except httpx.TransportError as error:
            self._good(error)
        finally:
            await response.aclose()

    embed = partialmethod(route, task="embed")  # store=True keeps the texts for `search`
    sentiment = partialmethod(route, task="sentiment")
    toxicity = partialmethod(route, task="toxicity")
    rerank = partialmethod(route, task="rerank")  # with query=
    classify = partialmethod(route, task="classify")  # with labels=
    ocr = partialmethod(route, task="ocr")  # a path or bytes, as the three below
    document = partialmethod(route, task="document")  # with query=, what is asked of the page
    vision = partialmethod(route, task="vision")  # with labels=, query=, compare= or profile=; else its vector
    transcribe = partialmethod(route, task="transcribe")

    async def search(self, query: str, *, limit: int = 10, model: str | None = None) -> tuple[Found, ...]:
        return await self.send(asks.search(query, limit, model))

    async def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """Any other path of the API; returns its JSON."""
        return await self.send(asks.plain(method, path, body, params))

    async def label(self, outcomes: Mapping[str, float], **about: Unpack[About]) -> Any:
        """How good each model's answer was, from 0 to 1: `label({"claude-sonnet": 1.0}, request_id=answer.id)`."""
        return await self.send(asks.label(outcomes, about))

    async def contracts(self) -> Any:
        """What is promised of each task class, and how it stands."""
        return await self.call("GET", "/contracts")

    async def models(self) -> Any:
        return await self.call("GET", "/models")

    async def inference(self, id: str) -> Any:
        return await self.call("GET", f"/inferences/{id}")

    async def send(self, ask: Ask[T]) -> T:
        return ask.read((await self._open(ask)).json())

    async def _open(self, ask: Ask[Any], *, stream: bool = False) -> httpx.Response:
        tries = 0
        while (pause_s := self._pause_s(outcome := await self._try(ask, stream), tries)) is not None:
            await asyncio.sleep(pause_s)
            tries += 1
        return self._good(outcome)

    async def _try(self, ask: Ask[Any], stream: bool) -> httpx.Response | httpx.TransportError:
        try:
            response = await self._http.send(self._http.build_request(**ask.request()), stream=stream)
            if response.is_error:
                await response.aread()
        except httpx.TransportError as error:
            return error
        return response


def _problem_of(response: httpx.Response) -> PennyrouteError:
    """The told problem; what is no JSON object (a proxy's page) reads as its status."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    return from_problem(body if isinstance(body, dict) else {}, response.status_code)
