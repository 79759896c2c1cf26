"""A Postgres of its own for a test that kills or pauses it: started, supervised and restarted as `up` does."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.embedded.data_folder import DataFolder
from orchestrator.adapters.embedded.postgres import EmbeddedPostgres
from orchestrator.adapters.embedded.supervisor import Supervisor


@dataclass(frozen=True, kw_only=True)
class PostgresServer:
    url: str
    supervisor: Supervisor

    def kill(self) -> None:
        """kill -9 of the server and every backend: what a crash leaves."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The whole server stands still: connections are open, nothing answers."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        pid = self.supervisor.pid("postgres")
        assert pid is not None, "Postgres is down"
        return family(pid)


def family(pid: int) -> list[int]:
    """A process and all that descend from it, eldest first (so that a killed server starts no more)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


@contextlib.contextmanager
def running_postgres(path: Path) -> Iterator[PostgresServer]:
    """With the durable settings of a real installation; no migration is applied."""
    with DataFolder.open(path) as folder:
        postgres = EmbeddedPostgres(folder)
        postgres.prepare()
        with Supervisor(logs=folder.logs, run=folder.run, held=(folder.lock_fd,)) as supervisor:
            supervisor.start(postgres.process())
            yield PostgresServer(url=postgres.url, supervisor=supervisor)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)
