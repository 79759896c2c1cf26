"""One supervised program and its process group: looked at and ended; when, is the supervisor's business."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.adapters.embedded.errors import StartFailed
from orchestrator.adapters.embedded.guard import living
from orchestrator.adapters.embedded.process import ProcessSpec


@dataclass(kw_only=True, slots=True)
class Child:
    """What the supervisor knows about one program; times ending in `_s` are monotonic seconds."""

    spec: ProcessSpec
    log: Path
    process: subprocess.Popen[bytes] | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_s: float = 0.0
    start_at_s: float = 0.0
    ready: bool = False
    ever_ready: bool = False
    restarts: int = 0
    failures_in_a_row: int = 0
    deaths_s: list[float] = field(default_factory=list)
    failure: StartFailed | None = None

    @property
    def pid(self) -> int:
        """0 while it is down."""
        return self.process.pid if self.process is not None else 0

    def state(self) -> dict[str, object]:
        return {
            "pid": self.pid or None,
            "restarts": self.restarts,
            "since": self.since.isoformat(),
            "ready": self.ready,
        }


def has_exited(process: subprocess.Popen[bytes]) -> bool:
    """True when it ended. It is not reaped yet, so its group's number cannot belong to anybody else."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def send_signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the program itself, not its group: it tells its own children what they should know."""
    if process.returncode is None:  # not reaped: the number is still its own
        os.kill(process.pid, number)


def bury(process: subprocess.Popen[bytes]) -> str:
    """SIGKILL the program and what is left of its group, reap it, and say how it ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    status = _status_words(process.wait())
    deadline_s = time.monotonic() + 2.0
    while living({process.pid}) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return status


def _status_words(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:
        return f"signal {-returncode}"
