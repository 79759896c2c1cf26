"""Ends a process whose inference hangs, since Celery's time limits act in its prefork pool alone; it stops no thread.

Native code cannot be interrupted from outside, so the process goes and whoever keeps workers running starts a new
one. Two clocks watch: a Python thread, which can still answer the callers, and behind it a C thread of `faulthandler`,
which needs no interpreter lock: native code that keeps the lock for itself stops every Python thread.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger(__name__)

GRACE_S = 5.0  # a modality looks at its deadline between steps: one step may take so much longer
LAST_WORD_S = 5.0  # for `on_stuck`, and then the C thread ends the process whatever is going on
IDLE_TICKS = 2  # without a guard, and the C thread's timer is taken back
TICK_S = 0.25  # how often the Python thread looks; looking costs microseconds
STDERR = 2  # the descriptor: Celery puts a log in the place of sys.stderr
STUCK_EXIT_CODE = 70  # sysexits.h EX_SOFTWARE: our own doing, for who reads the supervisor's log


@dataclass(frozen=True, kw_only=True, slots=True)
class _Guard:
    due: float
    on_stuck: Callable[[], None]


def end_process() -> None:
    """At once: no cleanup handler may wait for the thread that hangs."""
    os._exit(STUCK_EXIT_CODE)


class Watchdog:
    """One per process. `end` is called after `on_stuck` and has to end the process.

    faulthandler has one timer per process: while this watchdog is in use nobody else may use
    `faulthandler.dump_traceback_later`.
    """

    def __init__(
        self,
        *,
        end: Callable[[], None] = end_process,
        grace_s: float = GRACE_S,
        last_word_s: float = LAST_WORD_S,
    ) -> None:
        self._end = end
        self._grace_s = grace_s
        self._last_word_s = last_word_s
        self._guards: dict[object, _Guard] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._native_until = float("-inf")
        self._idle_ticks = 0

    @contextmanager
    def guard(self, deadline_s: float, on_stuck: Callable[[], None]) -> Iterator[None]:
        """What runs in the `with` must be over `grace_s` after `deadline_s` (monotonic seconds, as `Batch.deadline`;
        infinite: not watched).

        Otherwise `on_stuck` is called in another thread, to answer whom it concerns (it should take less than
        `last_word_s`), and the process ends. Where the interpreter lock is held by native code `on_stuck` cannot run:
        the process ends without a word and its message is delivered again.
        """
        if math.isinf(deadline_s):
            yield
            return
        token = object()
        self._arm(token, _Guard(due=deadline_s + self._grace_s, on_stuck=on_stuck))
        try:
            yield
        finally:
            self._disarm(token)

    def _arm(self, token: object, guard: _Guard) -> None:
        with self._lock:
            self._guards[token] = guard
            self._idle_ticks = 0  # a guard may come and go between two looks
            self._set_native_timer()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()

    def _disarm(self, token: object) -> None:
        """The C thread's timer stays for the next guard, which comes soon or is waited for by `_watch`."""
        with self._lock:
            del self._guards[token]

    def _set_native_timer(self) -> None:
        """Setting it starts a thread and ends another, which costs 50 µs and, where all cores are busy, milliseconds
        per batch. So it is set half as late again as needed and kept as long as it is neither too early nor twice as
        late as that."""
        now = time.monotonic()
        needed_s = max(0.1, min(guard.due for guard in self._guards.values()) + self._last_word_s - now)
        if now + needed_s <= self._native_until <= now + 2 * needed_s:
            return
        self._native_until = now + 1.5 * needed_s
        faulthandler.dump_traceback_later(1.5 * needed_s, exit=True, file=STDERR)

    def _watch(self) -> None:
        while True:
            time.sleep(TICK_S)
            now = time.monotonic()
            with self._lock:
                overdue = [guard for guard in self._guards.values() if now > guard.due]
                self._idle_ticks = 0 if self._guards else self._idle_ticks + 1
                if self._idle_ticks == IDLE_TICKS:
                    self._native_until = float("-inf")
                    faulthandler.cancel_dump_traceback_later()
            if overdue:
                self._give_up(overdue)
                return

    def _give_up(self, overdue: list[_Guard]) -> None:
        log.critical("an inference hangs %.0f s beyond its deadline; this process ends", self._grace_s)
        faulthandler.dump_traceback(all_threads=True, file=STDERR)
        for guard in overdue:
            try:
                guard.on_stuck()
            except Exception:  # whatever it was, the process must go
                log.exception("the callers of a batch that hangs could not be told")
        self._end()
