"""The log files of supervised programs: opened for appending, turned over by size, quoted in errors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 10_000_000
KEPT = 3  # NAME.log.1 is the youngest of the old ones


def log_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def open_for_appending(log: Path) -> int:
    """A descriptor for a program's output; O_APPEND makes `turn_over` under a running program safe."""
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def turn_over(log: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> bool:
    """Copy a log past `max_bytes` aside and empty it in place; True when that happened.

    The program keeps its descriptor, so no signal is needed; lines written during the copy may be lost.
    """
    try:
        if log.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for error messages; empty when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16_384))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-count:])
