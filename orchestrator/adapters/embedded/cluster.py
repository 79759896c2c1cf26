"""The files of a Postgres cluster: whether they are sound, and whether something still runs on them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from orchestrator.adapters.embedded.errors import DataCorrupt, EmbeddedError

# The carrier package's folders by major version; new clusters get the first.
CARRIER_FOLDERS = {"18": "pginstall18", "16": "pginstall"}


def major(data: Path) -> str:
    return (data / "PG_VERSION").read_text().strip()


def require_sound(data: Path) -> None:
    advice = f"Put {data} back from a backup, or move it away to begin with an empty database."
    for name in ("PG_VERSION", "global/pg_control", "base", "pg_wal"):
        if not (data / name).exists():
            raise DataCorrupt(f"The Postgres data in {data} is damaged: {name} is missing. {advice}")
    version = major(data)
    if version not in CARRIER_FOLDERS:
        raise DataCorrupt(
            f"The Postgres data in {data} was written by Postgres {version[:20]!r}, and this version runs "
            f"{' and '.join(CARRIER_FOLDERS)}. {advice}"
        )


def stop_leftover(data: Path) -> None:
    """End a server that outlived its supervisor on this very cluster; drop a pid file that names a stranger.

    We hold the folder's lock, so nobody else may run it. Pids are reused (always, in a restarted container),
    so the file alone proves nothing.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        file.unlink(missing_ok=True)
        return
    if not _runs_on(pid, data):
        file.unlink(missing_ok=True)
        return
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + 30
    while _runs_on(pid, data):
        if time.monotonic() > deadline:
            raise EmbeddedError(f"A Postgres left over on {data} (process {pid}) does not stop. End it, then retry.")
        time.sleep(0.02)


def _runs_on(pid: int, data: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return str(data) in words and "postgres" in words[0]
