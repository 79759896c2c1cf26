"""What processes cost, from /proc: CPU seconds and memory of a tree; Linux only, starts nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The process and everything below it, as it stands now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        found.append(ahead.pop())
        ahead.extend(children.get(found[-1], ()))
    return found


def matching(pids: Iterable[int], words: str) -> list[int]:
    """Those whose command line holds the words."""
    return [pid for pid in pids if words in _read(pid, "cmdline").replace("\0", " ")]


def cpu_s(pids: Collection[int]) -> float:
    """User and system seconds so far, of the processes themselves."""
    stats = [fields for pid in pids if (fields := _stat(pid))]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / TICKS_PER_S


def memory_mb(pids: Collection[int], field: str = "VmRSS") -> float:
    """Resident memory in MB (10^6); `VmHWM` is the highest it ever was."""
    lines = (line for pid in pids for line in _read(pid, "status").splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command, state first; empty when it is gone."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
