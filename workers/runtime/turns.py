"""Whose turn it is on the one inference of this process, so that models that do not fit together share it fairly.

A worker holds several messages at once, each in a thread that waits here. It loads and runs nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from workers.modality import Code, WorkerError

# A load that pushes another model out is worth so many load times of work on the loaded ones: counted from the end of
# the last such load, at most a third of the time goes into loading. The bounds keep a wait short, a quick load cheap.
PATIENCE_LOADS = 2.0
LEAST_PATIENCE_S, MOST_PATIENCE_S = 0.1, 3.0
# Callers that were just answered often ask again, after a round trip. While nothing but work that would push a model
# out is at hand, a part of that load's time is waited for them: a load saved pays for four such waits in vain.
LINGER_LOADS = 1 / 4
MOST_LINGER_S = 0.1
_LOOK_S = 0.02  # how often who lingers looks again


@dataclass(eq=False, slots=True)
class _Waiter:
    model: str
    since: float


class Turns:
    """`load_s(model)`: seconds that taking this model now would cost because it pushes others out; 0.0 when it is
    loaded or there is room for it. It is asked under the lock and must not wait."""

    def __init__(self, load_s: Callable[[str], float], now: Callable[[], float] = time.monotonic) -> None:
        self._load_s = load_s
        self._now = now
        self._waiting: list[_Waiter] = []
        self._held = False
        self._freed_at = float("-inf")
        self._loaded_at = float("-inf")
        self._changed = threading.Condition()

    @contextmanager
    def take(self, model: str, deadline_s: float = float("inf")) -> Iterator[None]:
        """The turn, for the length of the `with`. Raises WorkerError `timeout` when `deadline_s` (monotonic) passes
        while others have theirs."""
        me = _Waiter(model, self._now())
        with self._changed:
            self._waiting.append(me)
            try:
                self._wait(me, deadline_s)
            finally:
                self._waiting.remove(me)
            self._held = True
        try:
            yield
        finally:
            self._free()

    @contextmanager
    def take_if_free(self) -> Iterator[bool]:
        """Whether the turn could be had at once, for what may as well be done later."""
        with self._changed:
            had = not self._held and not self._waiting
            self._held = self._held or had
        try:
            yield had
        finally:
            if had:
                self._free()

    def waiting(self) -> int:
        """How many wait for the turn."""
        with self._changed:
            return len(self._waiting)

    def loaded(self) -> None:
        """A load that pushed others out is over: the loaded models have their time from now on."""
        self._loaded_at = self._now()

    def _free(self) -> None:
        with self._changed:
            self._held = False
            self._freed_at = self._now()
            self._changed.notify_all()

    def _wait(self, me: _Waiter, deadline_s: float) -> None:
        if not self._held and len(self._waiting) > 1:
            self._changed.notify_all()  # who lingers may be served after me, or at once
        while self._held or self._next() is not me:
            now = self._now()
            if now > deadline_s:
                raise WorkerError(
                    Code.TIMEOUT,
                    f"the deadline passed after {now - me.since:.1f} s in this worker, behind work of other models; "
                    "allow more time, or run another worker on this queue",
                )
            self._changed.wait(min(_LOOK_S if not self._held else 1.0, max(0.0, deadline_s - now) + 0.001))

    def _next(self) -> _Waiter | None:
        """Overdue first, then what costs no load; what costs one when nothing else came for a moment."""
        now = self._now()
        costs = {waiter.model: self._load_s(waiter.model) for waiter in self._waiting}
        ready = [waiter for waiter in self._waiting if not costs[waiter.model]]
        for waiter in self._waiting:
            cost = costs[waiter.model]
            if cost and now - max(waiter.since, self._loaded_at) > _patience_s(cost):
                return waiter
        if ready:
            return ready[0]
        lingers_until = self._freed_at + min(MOST_LINGER_S, LINGER_LOADS * costs[self._waiting[0].model])
        return self._waiting[0] if now >= lingers_until else None


def _patience_s(load_s: float) -> float:
    return min(MOST_PATIENCE_S, max(LEAST_PATIENCE_S, PATIENCE_LOADS * load_s))
