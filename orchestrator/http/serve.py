"""`python -m orchestrator.http.serve --fd N`: one API process on a listening socket it inherits; no route here."""

from __future__ import annotations

import argparse
import os
import socket
from pathlib import Path

import uvicorn

APP = "orchestrator.http.app:create_app"


class _Server(uvicorn.Server):
    """Tells its starter that it answers: the ready file holds this process id, so an old file proves nothing."""

    def __init__(self, config: uvicorn.Config, ready_file: Path | None) -> None:
        super().__init__(config)
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_file is not None and self.started:
            self._ready_file.write_text(f"{os.getpid()}\n")


def main() -> None:
    """Runs until SIGTERM or SIGINT, then lets running requests finish for a while."""
    asked = _parse()
    config = uvicorn.Config(
        asked.app,
        factory=True,
        loop="uvloop",
        http="httptools",
        access_log=False,  # every request is a row of the log already
        timeout_graceful_shutdown=asked.graceful_s,
        backlog=2048,
    )
    # The kernel knows the family; uvicorn's own --fd assumes a Unix socket and loses TCP_NODELAY.
    listener = socket.socket(fileno=asked.fd)
    _Server(config, asked.ready_file).run(sockets=[listener])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.http.serve", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a listening socket")
    parser.add_argument("--app", default=APP, help="module:factory (default: %(default)s)")
    parser.add_argument("--ready-file", type=Path, help="receives the process id once requests are answered")
    parser.add_argument("--graceful-s", type=int, default=10, help="seconds for running requests to finish")
    return parser.parse_args()


if __name__ == "__main__":
    main()
