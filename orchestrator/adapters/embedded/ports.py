"""Choose loopback ports for the embedded servers; opens nothing that stays open."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from orchestrator.adapters.embedded.errors import PortInUse

# Below 32768 the kernel never hands a port to an outgoing connection, so a restart finds it free again.
FIRST_PORT, LAST_PORT = 20_000, 32_000


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen on `host:port` now (a port in TIME_WAIT counts as free)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(port: int, *, host: str = "127.0.0.1", what: str, flag: str) -> None:
    """Raise `PortInUse` when `port` is taken; `flag` is the option that chooses another one."""
    if not is_free(port, host):
        raise PortInUse(
            f"Port {port} on {host} is already in use, so {what} cannot listen there. "
            f"Stop the program that holds it (`ss -ltnp 'sport = :{port}'` shows it) "
            f"or choose another port with {flag}."
        )


def pick_free() -> int:
    """Return a free loopback port between `FIRST_PORT` and `LAST_PORT`."""
    for port in random.sample(range(FIRST_PORT, LAST_PORT), 200):
        if is_free(port):
            return port
    raise PortInUse(f"No free port was found on 127.0.0.1 between {FIRST_PORT} and {LAST_PORT} in 200 tries.")


def remembered_port(file: Path) -> int:
    """Return the port written in `file` while it is still free, else a new one; writes it to `file`."""
    try:
        port = int(file.read_text())
    except (OSError, ValueError):
        port = 0
    if not 1024 <= port <= 65535 or not is_free(port):
        port = pick_free()
    file.write_text(f"{port}\n")
    return port
