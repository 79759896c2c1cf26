"""Overload is an answer: above the limit a request is refused before any work, with when to try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.core.errors import Overloaded
from orchestrator.http.state import State


@contextmanager
def counted(state: State) -> Iterator[None]:
    """In work, without asking: a stream that was granted its permit goes on."""
    state.in_work += 1
    try:
        yield
    finally:
        state.in_work -= 1


@contextmanager
def permit(state: State) -> Iterator[None]:
    """Raises Overloaded."""
    limit = state.settings.max_concurrency
    if state.in_work >= limit:
        raise Overloaded(
            f"{limit} requests are in work in this process; nothing of this one was begun.", retry_after_s=1
        )
    with counted(state):
        yield
