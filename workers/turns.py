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

# A load that pushes another model out costs its load time. It waits for so many load times while loaded models have
# work, so that at most a third of the time goes into loading; the bounds keep a wait short and a quick load cheap.
PATIENCE_LOADS = 2.0
LEAST_PATIENCE_S, MOST_PATIENCE_S = 0.1, 3.0
# Once it is loaded it stays for one load time before another overdue one may push a model out.
LEAST_STAY_S, MOST_STAY_S = 0.1, 3.0
# A caller that has just been answered often asks again within milliseconds: with only work that would push a model out
# at hand, waiting so long for it is worth it. Ten times less than the load that it may save, and never noticed.
MOST_LINGER_S = 0.02


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
        self._stays_until = float("-inf")
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

    def loaded(self, took_s: float) -> None:
        """A load that pushed others out is over: its model stays for a while."""
        self._stays_until = self._now() + _between(LEAST_STAY_S, took_s, MOST_STAY_S)

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
            self._changed.wait(min(MOST_LINGER_S if not self._held else 1.0, max(0.0, deadline_s - now) + 0.001))

    def _next(self) -> _Waiter | None:
        """Overdue first, then what costs no load; what costs one when nothing else came for a moment."""
        now = self._now()
        costs = {waiter.model: self._load_s(waiter.model) for waiter in self._waiting}
        ready = [waiter for waiter in self._waiting if not costs[waiter.model]]
        if ready and now < self._stays_until:
            return ready[0]
        for waiter in self._waiting:
            if costs[waiter.model] and now - waiter.since > _patience_s(costs[waiter.model]):
                return waiter
        if ready:
            return ready[0]
        lingers_until = self._freed_at + min(MOST_LINGER_S, costs[self._waiting[0].model] / 10)
        return self._waiting[0] if now >= lingers_until else None


def _patience_s(load_s: float) -> float:
    return _between(LEAST_PATIENCE_S, PATIENCE_LOADS * load_s, MOST_PATIENCE_S)


def _between(least: float, value: float, most: float) -> float:
    return min(most, max(least, value))
