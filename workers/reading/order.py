"""Pieces of text into lines in the order a person reads them: columns one after the other, tables row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np

from workers.reading.quads import Quad

WIDEST_GAP = 1.5  # of a line's height: a wider one is told as a tab
SAME_ROW = 0.5  # of the lower height: pieces that overlap by more stand in one row
ALIKE = 2.5  # times as high: what is higher still (a line that stands in the margin, a drop cap) is no neighbour
COLUMN_GAP = 1.0  # of a line's height: a narrower gap is a space
COLUMN_ROWS = 3  # fewer rows make no column
PROSE = 8.0  # times as wide as high, about twenty letters: columns of narrower lines are a table's
MOST_GAPS = 8  # that are tried: each asks whether both sides are columns
SPANNING = 0.34  # share of pieces that may lie across a gap between columns (headings, pictures' captions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Text in one box, and that box's sides on the page when it is laid level."""

    text: str
    confidence: float
    quad: Quad
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def piece(text: str, confidence: float, quad: Quad, level: Quad) -> Piece:
    """`level`: the same box on the page laid level (`workers.reading.quads.level`)."""
    left, top = (float(value) for value in (level[[0, 3], 0].mean(), level[[0, 1], 1].mean()))
    right, bottom = (float(value) for value in (level[[1, 2], 0].mean(), level[[2, 3], 1].mean()))
    return Piece(text=text, confidence=confidence, quad=quad, left=left, top=top, right=right, bottom=bottom)


def lines(pieces: Sequence[Piece]) -> list[Piece]:
    """One piece per line. The detector cuts a line at wide gaps: what stands in one row of one column is joined, by a
    space, or by a tab where the gap is wider than WIDEST_GAP."""
    if not pieces:
        return []
    split = _columns(pieces)
    if split is None:
        return [_joined(row) for row in _rows(pieces)]
    return [line for block in split for line in lines(block)]


def _columns(pieces: Sequence[Piece]) -> list[list[Piece]] | None:
    """The page in blocks to be read one after the other, or None where it has no columns."""
    for gap in _gaps(pieces):
        left, right, across = _parted(pieces, gap)
        if _is_column(left) and _is_column(right) and _beside(left, right):
            return _bands(left, right, across)
    return None


def _gaps(pieces: Sequence[Piece]) -> list[float]:
    """Where a gap between columns may be, likeliest first: left of some piece; the fewest lie across it, and as many
    on the one side as on the other."""
    wanted = COLUMN_GAP * median(piece.height for piece in pieces)
    lefts, rights = (np.array([getattr(piece, side) for piece in pieces]) for side in ("left", "right"))
    found = []
    for x in {round(piece.left - wanted / 2, 1) for piece in pieces}:
        left, right = int((rights <= x).sum()), int((lefts >= x).sum())
        across = len(pieces) - left - right
        if min(left, right) >= COLUMN_ROWS and across <= SPANNING * len(pieces):
            found.append((across, abs(left - right), x))
    return [x for _, _, x in sorted(found)[:MOST_GAPS]]


def _parted(pieces: Sequence[Piece], x: float) -> tuple[list[Piece], list[Piece], list[Piece]]:
    left = [piece for piece in pieces if piece.right <= x]
    right = [piece for piece in pieces if piece.left >= x]
    across = [piece for piece in pieces if piece.left < x < piece.right]
    rest = [one for one in (*left, *right) if any(_continues(row, one) for row in across)]
    return _without(left, rest), _without(right, rest), [*across, *rest]


def _continues(across: Piece, one: Piece) -> bool:
    """A heading may have been cut at its own spaces: its end belongs to it, not to a column."""
    gap = max(one.left - across.right, across.left - one.right)
    return gap < WIDEST_GAP * across.height and _same_row([across], one)


def _without(pieces: Iterable[Piece], taken: Sequence[Piece]) -> list[Piece]:
    return [one for one in pieces if not any(one is other for other in taken)]


def _is_column(pieces: Sequence[Piece]) -> bool:
    """Rows of running text: most have no wide gap inside, unless they are columns again."""
    rows = _rows(pieces)
    if len(rows) < COLUMN_ROWS:
        return False
    if 2 * sum(_widest_gap(row) <= WIDEST_GAP for row in rows) <= len(rows):
        return _columns(pieces) is not None
    return median((row[-1].right - row[0].left) / _height(row) for row in rows) >= PROSE


def _beside(left: Sequence[Piece], right: Sequence[Piece]) -> bool:
    """Side by side, not one below the other."""
    top = max(min(piece.top for piece in side) for side in (left, right))
    bottom = min(max(piece.bottom for piece in side) for side in (left, right))
    return bottom - top > COLUMN_ROWS * median(piece.height for piece in left)


def _bands(left: list[Piece], right: list[Piece], across: list[Piece]) -> list[list[Piece]]:
    """What spans the columns divides them: above it both are read, then it, then what is below."""
    blocks: list[list[Piece]] = []
    for row in (*_rows(across), []):
        above = row[0].top if row else float("inf")
        for side in (left, right):
            blocks.append([piece for piece in side if piece.top < above])
            side[:] = [piece for piece in side if piece.top >= above]
        blocks.append(list(row))
    return [block for block in blocks if block]


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Top to bottom, each from left to right."""
    rows: list[list[Piece]] = []
    for one in sorted(pieces, key=lambda piece: piece.top + piece.bottom):
        row = next((row for row in reversed(rows[-3:]) if _same_row(row, one)), None)
        if row is None:
            rows.append([one])
        else:
            row.append(one)
    return [sorted(row, key=lambda piece: piece.left) for row in rows]


def _same_row(row: list[Piece], one: Piece) -> bool:
    """Judged by the piece nearest to it: a row may still slope a little. Pieces over each other share no row."""
    near = min(row, key=lambda piece: abs(piece.left - one.left))
    overlap = min(near.bottom, one.bottom) - max(near.top, one.top)
    low, high = sorted((near.height, one.height))
    beside = min(near.right, one.right) - max(near.left, one.left) < low
    return beside and high < ALIKE * low and overlap > SAME_ROW * low


def _height(row: Sequence[Piece]) -> float:
    return max(1.0, median(piece.height for piece in row))


def _widest_gap(row: Sequence[Piece]) -> float:
    """In heights of the row."""
    return max((b.left - a.right for a, b in pairwise(row)), default=0.0) / _height(row)


def _joined(row: Sequence[Piece]) -> Piece:
    result = row[0]
    for one in row[1:]:
        between = "\t" if one.left - result.right > WIDEST_GAP * min(result.height, one.height) else " "
        result = replace(
            result,
            text=f"{result.text}{between}{one.text}",
            confidence=min(result.confidence, one.confidence),
            quad=np.stack([result.quad[0], one.quad[1], one.quad[2], result.quad[3]]),
            right=one.right,
        )
    return result
