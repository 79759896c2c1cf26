"""Many requests at once and what each was told; judges nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tests.e2e.house import Standing


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a caller heard: status and body, or 0 and the error of a connection that broke."""

    status: int
    body: Any
    content_type: str = ""
    asked: Any = None


async def ask(session: aiohttp.ClientSession, house: Standing, body: Any) -> Told:
    try:
        async with session.post(f"{house.address}/route", json=body) as answer:
            text = await answer.read()
            return Told(status=answer.status, body=orjson.loads(text), content_type=answer.content_type, asked=body)
    except aiohttp.ClientError as error:
        return Told(status=0, body=repr(error), asked=body)


def _session(house: Standing) -> aiohttp.ClientSession:
    """A connection for each request: every API process gets its share."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        headers=house.headers,
        timeout=aiohttp.ClientTimeout(total=90),
    )


async def all_at_once(house: Standing, bodies: Sequence[Any]) -> list[Told]:
    async with _session(house) as session:
        return list(await asyncio.gather(*(ask(session, house, body) for body in bodies)))


async def while_something_happens(
    house: Standing, bodies: Sequence[Any], callers: int, event: Callable[[], None]
) -> list[Told]:
    """`callers` ask one request after the other, until `event` (in a thread) is over and a while after."""
    over = asyncio.Event()
    told: list[Told] = []

    async def caller(number: int) -> None:
        turn = number
        while not over.is_set():
            told.append(await ask(session, house, bodies[turn % len(bodies)]))
            turn += 1
            await asyncio.sleep(0.02)

    async def happen() -> None:
        await asyncio.sleep(0.5)
        try:
            await asyncio.to_thread(event)
            await asyncio.sleep(0.5)
        finally:
            over.set()

    async with _session(house) as session:
        await asyncio.gather(happen(), *(caller(number) for number in range(callers)))
    return told


def statuses(told: Sequence[Told]) -> dict[int, int]:
    return dict(Counter(one.status for one in told))
