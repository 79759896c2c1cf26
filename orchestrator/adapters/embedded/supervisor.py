"""Keeps programs running: starts, watches, restarts and stops them; knows nothing of what they are."""

from __future__ import annotations

import enum
import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from orchestrator.adapters.embedded.child import Child, bury, has_exited, send_signal
from orchestrator.adapters.embedded.data_folder import write_private
from orchestrator.adapters.embedded.errors import StartFailed
from orchestrator.adapters.embedded.guarded import Guard
from orchestrator.adapters.embedded.logs import last_lines, log_file, turn_over
from orchestrator.adapters.embedded.process import ProcessSpec, spawn
from orchestrator.adapters.embedded.restart import RestartPolicy

STATE_FILE = "processes.json"
# Seconds between two looks: short while something starts, calm afterwards.
STARTING_PAUSE_S, CALM_PAUSE_S, UPKEEP_S = 0.01, 0.1, 5.0


class EventKind(enum.StrEnum):
    STARTED = "started"
    READY = "ready"
    EXITED = "exited"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What happened to one program; `detail` is for people (an exit status, a delay)."""

    kind: EventKind
    name: str
    pid: int
    detail: str = ""


def ignore(event: Event) -> None:
    """The listener of those who do not listen."""


class Supervisor:
    """`with Supervisor(…) as supervisor: supervisor.start(a, b); supervisor.start(c)`; leaving it stops all.

    One thread of its own spawns and watches, because the kernel ties a child's life to the thread that made
    it; `on_event` is called there. `held` are descriptors (the data folder's lock) that stay open until every
    program has ended, even when this process is killed. `run` receives processes.json.
    """

    def __init__(
        self,
        *,
        logs: Path,
        run: Path,
        on_event: Callable[[Event], None] = ignore,
        policy: RestartPolicy | None = None,
        held: Sequence[int] = (),
    ) -> None:
        self._logs, self._state_file = logs, run / STATE_FILE
        self._on_event = on_event
        self._policy = policy or RestartPolicy()
        self._guard = Guard(held)
        self._groups: list[list[Child]] = []
        self._changed = threading.Condition()
        self._stopping, self._hurry = threading.Event(), threading.Event()
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._next_upkeep_s = 0.0

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def begin(self, *specs: ProcessSpec) -> None:
        """Begin to start programs and return at once; they are stopped together, before those begun earlier."""
        self._groups.append([Child(spec=spec, log=log_file(self._logs, spec.name)) for spec in specs])

    def start(self, *specs: ProcessSpec) -> None:
        """`begin` these programs and wait until they, and all begun before, are ready.

        Raises StartFailed, with the log's end, when one cannot be started.
        """
        self.begin(*specs)
        with self._changed:
            while waiting := [child for child in self._children() if not child.ever_ready]:
                self.check()
                if self._stopping.is_set():
                    raise StartFailed(f"{waiting[0].spec.name} was not started: everything is being stopped.")
                for child in waiting:
                    if child.failure is not None:
                        raise child.failure
                self._changed.wait(0.5)  # bounded, so that Ctrl-C is heard

    def stop(self) -> None:
        """Stop everything in reverse order of `start`; returns when all of it has ended."""
        self._stopping.set()
        self._thread.join()

    def hurry(self) -> None:
        """Do not wait for stop time-outs any more; safe in a signal handler."""
        self._hurry.set()

    def check(self) -> None:
        """Raise what ended the supervision, if it ended by itself."""
        if self._crash is not None:
            raise RuntimeError("the supervision of the programs ended by an error") from self._crash

    def pid(self, name: str) -> int | None:
        """Process id of a running program; None while it is down or unknown."""
        return next((child.pid or None for child in self._children() if child.spec.name == name), None)

    # From here on everything runs in the supervising thread.

    def _supervise(self) -> None:
        try:
            self._guard.start()
            while not self._stopping.wait(self._pause_s()):
                self._turn(time.monotonic())
        except BaseException as error:
            self._crash = error  # raised again in the caller's thread by check()
        finally:
            self._stop_all()

    def _pause_s(self) -> float:
        return CALM_PAUSE_S if all(child.ready for child in self._children()) else STARTING_PAUSE_S

    def _children(self) -> list[Child]:
        return [child for group in list(self._groups) for child in group]

    def _turn(self, now_s: float) -> None:
        for child in self._children():
            if child.failure is None:
                self._look(child, now_s)
        if now_s >= self._next_upkeep_s:
            self._next_upkeep_s = now_s + UPKEEP_S
            self._guard.keep_alive()
            for child in self._children():
                turn_over(child.log)

    def _look(self, child: Child, now_s: float) -> None:
        if child.process is None:
            if now_s >= child.start_at_s:
                self._spawn(child, now_s)
        elif has_exited(child.process):
            self._fail(child, self._bury(child, EventKind.EXITED))
        elif not child.ready:
            self._ask_ready(child, now_s)
        elif now_s - child.started_s > self._policy.healthy_after_s:
            child.failures_in_a_row = 0

    def _spawn(self, child: Child, now_s: float) -> None:
        child.process = spawn(child.spec, child.log)
        child.started_s, child.since = now_s, datetime.now(UTC)
        self._guard.watch(child.pid, child.spec.stop_signal)
        self._tell(EventKind.STARTED, child)
        if child.spec.ready is None:
            self._now_ready(child)
        self._write_state()

    def _ask_ready(self, child: Child, now_s: float) -> None:
        if child.spec.ready is not None and child.spec.ready(child.pid):
            self._now_ready(child)
            self._write_state()
        elif now_s - child.started_s > child.spec.ready_timeout_s:
            self._end([child])
            self._fail(child, f"was not ready within {child.spec.ready_timeout_s:g} s", patient=False)

    def _now_ready(self, child: Child) -> None:
        self._tell(EventKind.READY, child)
        with self._changed:
            child.ready = child.ever_ready = True
            self._changed.notify_all()

    def _bury(self, child: Child, kind: EventKind) -> str:
        if child.process is None:
            return ""
        status = bury(child.process)
        self._guard.forget(child.pid)
        self._tell(kind, child, status)
        child.process, child.ready = None, False
        return status

    def _fail(self, child: Child, why: str, *, patient: bool = True) -> None:
        """Plan the next start of a program that ended, or give it up."""
        policy, now_s = self._policy, time.monotonic()
        child.deaths_s = [at_s for at_s in child.deaths_s if now_s - at_s < policy.start_window_s] + [now_s]
        if not child.ever_ready and (not patient or len(child.deaths_s) >= policy.start_failures):
            self._give_up(child, why)
            return
        child.failures_in_a_row += 1
        child.restarts += 1
        delay_s = policy.delay_s(child.failures_in_a_row, random.random())  # noqa: S311 - jitter, not a secret
        child.start_at_s = now_s + delay_s
        self._tell(EventKind.RESTARTING, child, f"in {delay_s:.1f} s")
        self._write_state()

    def _give_up(self, child: Child, why: str) -> None:
        times = f"{len(child.deaths_s)} times, last: " if len(child.deaths_s) > 1 else ""
        with self._changed:
            child.failure = StartFailed(
                f"{child.spec.name} could not be started ({times}{why}). "
                f"Its log {child.log} ends with:\n{last_lines(child.log)}"
            )
            self._changed.notify_all()

    def _stop_all(self) -> None:
        for group in reversed(self._groups):
            self._end(group)
        self._guard.stop()
        self._state_file.unlink(missing_ok=True)
        with self._changed:
            self._changed.notify_all()

    def _end(self, group: Sequence[Child]) -> None:
        """Stop these programs together: signal, wait, SIGKILL what is left of each one's own group."""
        for child in group:
            if child.process is not None:
                self._tell(EventKind.STOPPING, child)
                send_signal(child.process, child.spec.stop_signal)
        asked_s = time.monotonic()
        for child in group:
            while child.process is not None and not has_exited(child.process):
                if self._hurry.is_set() or time.monotonic() - asked_s > child.spec.stop_timeout_s:
                    self._tell(EventKind.KILLED, child, "it did not stop in time")
                    break
                time.sleep(0.01)
            self._bury(child, EventKind.STOPPED)

    def _tell(self, kind: EventKind, child: Child, detail: str = "") -> None:
        self._on_event(Event(kind=kind, name=child.spec.name, pid=child.pid, detail=detail))

    def _write_state(self) -> None:
        processes = {child.spec.name: child.state() for child in self._children()}
        state = {"supervisor": os.getpid(), "processes": processes}
        write_private(self._state_file, json.dumps(state, indent=1) + "\n")
