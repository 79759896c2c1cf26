"""Reads numbers and texts from the head of a file and never past its end; it knows no format."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from registry.weights.errors import DamagedWeights

LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Header:
    """A file being read from its start. Every method raises DamagedWeights, naming file and format."""

    path: Path
    kind: str
    size: int
    file: BinaryIO

    @classmethod
    @contextmanager
    def open(cls, path: Path, kind: str) -> Iterator[Self]:
        with path.open("rb") as file:
            yield cls(path, kind, os.fstat(file.fileno()).st_size, file)

    @property
    def rest(self) -> int:
        """Bytes between here and the end of the file."""
        return self.size - self.file.tell()

    def damaged(self, what: str) -> DamagedWeights:
        return DamagedWeights(
            f"{self.path} is no whole {self.kind} file: {what}; remove it and download or bring it again"
        )

    def require(self, holds: bool, what: str) -> None:
        if not holds:
            raise self.damaged(what)

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.size:  # before memory is asked for
            raise self._ended(count)
        found = self.file.read(count)
        if len(found) < count:
            raise self._ended(count)
        return found

    def skip(self, count: int) -> None:
        if not 0 <= count <= self.rest:
            raise self._ended(count)
        self.file.seek(count, os.SEEK_CUR)

    def skip_texts(self, count: int, code: str = "<Q") -> None:
        """Passes over so many texts, each after its length; a vocabulary has hundreds of thousands."""
        read, seek, width, size = self.file.read, self.file.seek, struct.calcsize(code), self.size
        unpack = struct.Struct(code).unpack
        for _ in range(count):
            text = read(width)
            if len(text) < width or (length := unpack(text)[0]) > size:
                raise self._ended(width)
            seek(length, os.SEEK_CUR)
        self.require(self.file.tell() <= size, "its last text runs past its end")

    def _ended(self, count: int) -> DamagedWeights:
        return self.damaged(f"{count} bytes wanted at byte {self.file.tell()} of {self.size}")

    def number(self, code: str) -> int:
        """One whole number in `struct`'s code."""
        found: int = struct.unpack(code, self.read(struct.calcsize(code)))[0]
        return found

    def count(self, code: str, *, each_bytes: int) -> int:
        """A number of things that take at least so many bytes each: one the file could not hold is refused."""
        found = self.number(code)
        self.require(found * each_bytes <= self.rest, f"{found} entries announced, {self.rest} bytes left")
        return found


def short(text: str) -> str:
    return repr(text[:LONGEST_SHOWN])
