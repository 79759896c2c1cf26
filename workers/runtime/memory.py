"""What memory there is for this process and what it holds, read from Linux; it decides nothing and frees only garbage.

Resident memory (RSS) is what is counted: it holds anonymous pages and the pages of files that are mapped (a GGUF file
read through mmap), so a model's memory is seen whichever way its library reads it. What processes share, such as a
library's code, is counted in each of them: too much rather than too little.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from registry.machine import PAGE_BYTES, available_bytes, kib, limit_bytes

__all__ = ["available_bytes", "forget_peak", "give_back", "limit_bytes", "peak_bytes", "resident_bytes"]


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
    return kib(Path("/proc/self/status"), "VmHWM") or 0


def give_back() -> None:
    """Collects garbage and returns freed memory to the system: glibc keeps it otherwise. Takes some 10 ms."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc alone has it; musl gives memory back by itself
        trim(0)
