"""What a supervised program is and how one is spawned; watches and restarts nothing (supervisor.py does)."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.embedded.logs import open_for_appending

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessSpec:
    """One program to keep running.

    `env` None means this process's environment. `ready` is asked with the process id and answers quickly;
    without it a program counts as ready once it is spawned. `fds` are inherited (a listening socket stays open
    while its server is restarted, so callers wait instead of being refused). `owned_folder` marks a program
    that refuses to be root: started by root it runs as an ordinary account that owns that folder.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10.0
    ready: Callable[[int], bool] | None = None
    ready_timeout_s: float = 60.0
    owned_folder: Path | None = None
    fds: tuple[int, ...] = ()


def launch_line(
    command: tuple[str, ...], *, death_signal: signal.Signals, owned_folder: Path | None = None
) -> list[str]:
    """The command line that runs `command` behind launch.py as a child of this very process."""
    line = [sys.executable, "-I", "-S", str(LAUNCHER), "--parent", str(os.getpid())]
    line += ["--death-signal", str(int(death_signal))]
    if owned_folder is not None and os.geteuid() == 0:
        account = ordinary_account()
        line += ["--not-root", f"{account.pw_uid}:{account.pw_gid}", "--own", str(owned_folder)]
    return [*line, "--", *command]


def spawn(spec: ProcessSpec, log: Path) -> subprocess.Popen[bytes]:
    """Start `spec` in its own session, output appended to `log`.

    It gets `stop_signal` when the *thread* that called spawn ends, so call from one that lives as long as the
    program may (kernel: PR_SET_PDEATHSIG).
    """
    descriptor = open_for_appending(log)
    try:
        return subprocess.Popen(
            launch_line(spec.command, death_signal=spec.stop_signal, owned_folder=spec.owned_folder),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=None if spec.env is None else dict(spec.env),
            cwd=spec.cwd,
            start_new_session=True,
            pass_fds=spec.fds,
        )
    finally:
        os.close(descriptor)


def ordinary_account() -> pwd.struct_passwd:
    """An existing account that is not root; which one does not matter, but initdb must find it by id."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
