"""What reading a page asks of networks, whoever runs them; it runs none."""

from __future__ import annotations

from typing import Protocol

from workers.reading.quads import Pixels, Quad

STRIDE = 32  # pixels: detectors of text see pages in squares of this side


class Reader(Protocol):
    """A detector of lines and a recogniser of what one line says."""

    def find(self, pixels: Pixels) -> list[Quad]:
        """The lines of this picture, whose size the caller chose. Any order."""
        ...

    def read(self, line: Pixels) -> tuple[str, float]:
        """The text of a line that runs from left to right, and the mean confidence in its characters (0 to 1)."""
        ...
