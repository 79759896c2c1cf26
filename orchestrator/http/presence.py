"""Whether the caller of a whole answer still waits; it looks only when an answer takes its time. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from starlette.requests import Request

from orchestrator.core.errors import CallerLeft

T = TypeVar("T")

# Most answers are there sooner, and need no watcher.
WATCH_AFTER_S = 0.25


class Presence:
    """`Presence` of ports. Belongs to the task that answers the request; its body must have been read."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._answering = asyncio.current_task()
        self._free = False
        self.gone = False
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._watch)

    @contextmanager
    def may_leave(self) -> Iterator[None]:
        """Within, the answering task is cancelled as soon as the caller is gone."""
        self._free = True
        try:
            self._cancel_if_gone()
            yield
        finally:
            self._free = False

    def close(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _watch(self) -> None:
        self._watcher = asyncio.create_task(self._wait_gone(), name="caller's presence")

    async def _wait_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._cancel_if_gone()

    def _cancel_if_gone(self) -> None:
        if self.gone and self._free and self._answering is not None:
            self._answering.cancel()


async def present(request: Request, story: Callable[[Presence], Awaitable[T]]) -> T:
    """The story's outcome, told while the caller waits. Raises CallerLeft where it ended because nobody did."""
    presence = Presence(request)
    try:
        return await story(presence)
    except asyncio.CancelledError:
        if presence.gone and (answering := asyncio.current_task()) is not None and not answering.uncancel():
            raise CallerLeft("the caller left before the answer was there; its local work was stopped.") from None
        raise
    finally:
        presence.close()
