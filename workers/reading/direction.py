"""How a page was laid on the scanner: a quarter, a half, three quarters of a turn, and its skew; no network of its own
is asked, the one that reads lines knows when it reads nonsense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.reading.quads import Pixels, Quad, angle, cut, size, turned
from workers.reading.reader import Reader

LONG = 1.5  # times as wide as high, or as high as wide: a box that shows which way its line runs
SAMPLES = 5
NO_DOUBT = 0.9
"""Mean confidence that ends the search. Measured on rendered pages, 300 to 3,500 pixels wide: 0.97 and more the right
way up, at most 0.77 upside down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Direction:
    """`degrees`: how far the text is turned clockwise on the page as it was sent (0, 90, 180, 270). `skew`: degrees
    beyond that, −45 to 45, clockwise."""

    degrees: int = 0
    skew: float = 0.0


class Memo:
    """A reader that reads each box once per direction: what was read to find the direction is not read again."""

    def __init__(self, reader: Reader, pixels: Pixels) -> None:
        self._reader = reader
        self._pixels = pixels
        self._known: dict[bytes, tuple[str, float]] = {}

    def read(self, quad: Quad) -> tuple[str, float]:
        """Text and confidence of the line that begins at this box's first corner."""
        key = quad.tobytes()
        if key not in self._known:
            self._known[key] = self._reader.read(cut(self._pixels, quad))
        return self._known[key]


def direction(memo: Memo, quads: Sequence[Quad]) -> Direction:
    """Which way the lines run is seen on their boxes; which of the two ends is their beginning, by reading the longest
    few, backwards too only where they make no sense forwards."""
    if not quads:
        return Direction()
    sideways = _sideways(quads)
    along = 90 if sideways else 0
    longest = sorted(quads, key=lambda quad: size(turned(quad, along))[0], reverse=True)[:SAMPLES]
    forwards = _sense(memo, longest, along)
    backwards = forwards < NO_DOUBT and _sense(memo, longest, along + 180) > forwards
    return Direction(degrees=along + 180 * backwards, skew=_skew(quads))


def _sideways(quads: Sequence[Quad]) -> bool:
    """By the length of boxes that are clearly longer one way."""
    balance = 0.0
    for quad in quads:
        width, height = size(quad)
        if max(width, height) > LONG * min(width, height):
            balance += width if width > height else -height
    return balance < 0


def _skew(quads: Sequence[Quad]) -> float:
    """The middle of all angles, each counted by its box's length: long boxes know their angle best."""
    sides = np.array([max(size(quad)) for quad in quads])
    angles = np.array([angle(quad) for quad in quads])
    order = angles.argsort()
    middle = int(np.searchsorted(sides[order].cumsum(), sides.sum() / 2))
    return round(float(angles[order][middle]), 2)


def _sense(memo: Memo, quads: Sequence[Quad], degrees: int) -> float:
    """Mean confidence, each line counted by its letters."""
    read = [memo.read(turned(quad, degrees)) for quad in quads]
    letters = sum(len(text) for text, _ in read)
    return sum(len(text) * confidence for text, confidence in read) / letters if letters else 0.0
