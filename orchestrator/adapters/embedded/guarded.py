"""The supervisor's end of the guard's pipe: tells guard.py what to end should the supervisor be killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPT = Path(__file__).with_name("guard.py")


class Guard:
    """`held` descriptors (the data folder's lock) stay open in the guard for as long as it lives."""

    def __init__(self, held: Sequence[int]) -> None:
        self._held = tuple(held)
        self._groups: dict[int, signal.Signals] = {}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            pass_fds=self._held,
            start_new_session=True,
        )
        for group, stop_signal in self._groups.items():
            self._tell(f"+ {group} {int(stop_signal)}")

    def keep_alive(self) -> None:
        """Replace a guard that was killed."""
        if self._process is not None and self._process.poll() is not None:
            self._process.communicate()
            self.start()

    def watch(self, group: int, stop_signal: signal.Signals) -> None:
        self._groups[group] = stop_signal
        self._tell(f"+ {group} {int(stop_signal)}")

    def forget(self, group: int) -> None:
        self._groups.pop(group, None)
        self._tell(f"- {group}")

    def stop(self) -> None:
        """Close the pipe and wait; with nothing left to watch the guard ends at once."""
        if self._process is not None:
            self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # A dead guard is replaced by keep_alive, which tells the new one everything.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
