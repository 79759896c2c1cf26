"""What memory this machine, or the container it is, has and can still give, read from Linux; it decides nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
UNLIMITED_FROM_BYTES = 1 << 60  # cgroup v1 writes "no limit" as a huge number
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def limit_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """What this process and its neighbours may use together: the tightest cgroup limit above it, else the machine's
    memory."""
    total = kib(proc / "meminfo", "MemTotal") or os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    return min([total, *(limit for limit, _ in _limits(proc, cgroups))])


def available_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """What can be had now without swapping, as the kernel and the cgroups see it; None where it is not known."""
    free = kib(proc / "meminfo", "MemAvailable")
    rooms = [max(0, limit - used) for limit, used in _limits(proc, cgroups)] + ([free] if free is not None else [])
    return min(rooms) if rooms else None


def kib(file: Path, name: str) -> int | None:
    """A line such as `VmHWM:  1234 kB` in bytes."""
    try:
        with file.open("rb") as opened:
            wanted = f"{name}:".encode("ascii")
            line = next((line for line in opened if line.startswith(wanted)), None)
    except OSError:
        return None
    return int(line.split()[1]) * 1024 if line else None


def _limits(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """(limit, in use) of every cgroup above this process that has a limit. File pages that the kernel would drop are
    not in use."""
    for folder, limit_name, used_name in _groups(proc, cgroups):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and limit < UNLIMITED_FROM_BYTES:
            yield limit, max(0, (used or 0) - _inactive_file(folder))


def _groups(proc: Path, cgroups: Path) -> Iterator[tuple[Path, str, str]]:
    """Version 2 has one tree (`0::/path`), version 1 one for memory. Inside a container the path is often the host's
    while the tree shows the container's own group at its top: the parents are looked at too."""
    try:
        lines = (proc / "self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from ((each, "memory.max", "memory.current") for each in _upwards(cgroups, path))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            yield from ((each, *names) for each in _upwards(cgroups / "memory", path))


def _upwards(top: Path, path: str) -> Iterator[Path]:
    here = top / os.path.normpath(f"/{path}").lstrip("/")
    while here != top:
        yield here
        here = here.parent
    yield top


def _number(file: Path) -> int | None:
    """None for `max` and where there is no such file."""
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _inactive_file(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    named = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(named.get("total_inactive_file", named.get("inactive_file", "0")))
