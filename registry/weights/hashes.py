"""SHA-256 of files, each read once per process as long as it does not change; it judges nothing."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

BLOCK_BYTES = 1 << 20
_Key = tuple[int, int, int, int]  # device, inode, bytes, time of change: a renamed file keeps them

_known: dict[_Key, str] = {}
_lock = threading.Lock()


def sha256(path: Path, heard: Callable[[int], None] | None = None) -> str:
    """In hex. A file that was read before and has not changed since, by inode, size and time, is not read again.

    `heard` is told the bytes of each block that is read. Raises OSError.
    """
    key = _key(path)
    with _lock:
        found = _known.get(key)
    if found is None:
        found = fresh_sha256(path, heard)
        with _lock:
            _known[key] = found
    return found


def fresh_sha256(path: Path, heard: Callable[[int], None] | None = None) -> str:
    """Reads the file, whatever is remembered."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            if heard:
                heard(len(block))
    return digest.hexdigest()


def git_sha1(path: Path) -> str:
    """What git, and so the hub, calls a small file: SHA-1 over its size and content."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _key(path: Path) -> _Key:
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
