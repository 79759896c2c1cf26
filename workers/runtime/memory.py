"""What memory there is for this process and what it holds, read from Linux; it decides nothing and frees only garbage.

Resident memory (RSS) is what is counted: it holds anonymous pages and the pages of files that are mapped (a GGUF file
read through mmap), so a model's memory is seen whichever way its library reads it. What processes share, such as a
library's code, is counted in each of them: too much rather than too little.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
UNLIMITED_FROM_BYTES = 1 << 60  # cgroup v1 writes "no limit" as a huge number
_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Memory of this process that is really in RAM; 0 where /proc is not to be had. Takes about 10 µs."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def forget_peak() -> None:
    """`peak_bytes` counts from here on. Where the kernel does not offer that it goes on counting from the start."""
    try:
        with open("/proc/self/clear_refs", "wb") as file:
            file.write(b"5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most that was resident since `forget_peak`; 0 where it is not known. Both together take about 20 µs."""
    return _kib(Path("/proc/self/status"), "VmHWM") or 0


def give_back() -> None:
    """Collects garbage and returns freed memory to the system: glibc keeps it otherwise. Takes some 10 ms."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc alone has it; musl gives memory back by itself
        trim(0)


def limit_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """What this process and its neighbours may use together: the tightest cgroup limit above it, else the machine's
    memory."""
    total = _kib(proc / "meminfo", "MemTotal") or os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES
    return min([total, *(limit for limit, _ in _limits(proc, cgroups))])


def available_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """What can be had now without swapping, as the kernel and the cgroups see it; None where it is not known."""
    free = _kib(proc / "meminfo", "MemAvailable")
    rooms = [max(0, limit - used) for limit, used in _limits(proc, cgroups)] + ([free] if free is not None else [])
    return min(rooms) if rooms else None


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


def _kib(file: Path, name: str) -> int | None:
    """A line such as `VmHWM:  1234 kB` in bytes."""
    try:
        with file.open("rb") as opened:
            wanted = f"{name}:".encode("ascii")
            line = next((line for line in opened if line.startswith(wanted)), None)
    except OSError:
        return None
    return int(line.split()[1]) * 1024 if line else None
