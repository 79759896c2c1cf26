"""Ends a supervisor's programs when the supervisor is gone, however it went; touches no other process.

Started as a script (`python -I -S guard.py`) that imports nothing of the project. It reads one line per
change from standard input, `+ GROUP SIGNAL` or `- GROUP`, and acts when that pipe closes. Meanwhile it holds
the data folder's lock (an inherited descriptor), so that the next start waits until nothing runs any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Collection

# Enough for Postgres' fast shutdown on an idle disk; after SIGKILL it recovers by itself, and tasks come back.
GRACE_S = 3.0


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, int] = {}
    for line in sys.stdin:
        change, group, *stop_signal = line.split()
        if change == "+":
            groups[int(group)] = int(stop_signal[0])
        else:
            groups.pop(int(group), None)
    end(groups, GRACE_S)


def end(groups: dict[int, int], grace_s: float) -> None:
    """Send each living group its signal, then SIGKILL to what is left after `grace_s`."""
    for group in living(groups):
        _signal(group, groups[group])
    deadline = time.monotonic() + grace_s
    while living(groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for group in living(groups):
        _signal(group, signal.SIGKILL)


def living(groups: Collection[int]) -> set[int]:
    """The process groups that still have a member that is not a zombie."""
    if sys.platform != "linux":
        return {group for group in groups if _exists(group)}
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as stat:
                # "pid (any name) state ppid pgrp …"
                state, _, group = stat.read().rpartition(")")[2].split()[:3]
                if state not in "ZX" and int(group) in groups:
                    found.add(int(group))
    return found


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
