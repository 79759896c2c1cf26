"""The story of one page: find its lines, see which way they run, read them, put them in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from workers.reading import finding, order
from workers.reading.direction import Direction, Memo, direction
from workers.reading.order import Piece, piece
from workers.reading.quads import Pixels, Quad, level, size, turned
from workers.reading.reader import Reader

LEAST_CONFIDENCE = 0.5  # below, what was read is likelier a picture than a text
STANDING = 1.5  # times as high as wide: a line that runs across the others (a margin's note)
LONGEST_SIDE = 16_000  # pixels: OpenCV cuts nothing from pictures beyond 32,767
FAINT = 100  # grey levels between paper and ink below which they are pulled apart


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Lines in reading order, with boxes in the coordinates of the page as it was given."""

    lines: tuple[Piece, ...]
    direction: Direction


def read(reader: Reader, pixels: Pixels, check: Callable[[], None]) -> Reading:
    """Reads one page. `check` is called between lines and may raise to end the reading."""
    clear = _contrasted(_bounded(pixels))
    back = pixels.shape[1] / clear.shape[1]
    memo = Memo(reader, clear)
    quads = finding.lines(reader, clear)
    found = direction(memo, quads)
    read_lines = []
    for quad in quads:
        check()
        read_lines.append(_line(memo, quad, found))
    kept = [piece for piece in read_lines if piece.text and piece.confidence >= LEAST_CONFIDENCE]
    return Reading(lines=tuple(_placed(line, back) for line in order.lines(kept)), direction=found)


def _line(memo: Memo, quad: Quad, found: Direction) -> Piece:
    lying = turned(quad, found.degrees)
    begun = lying
    width, height = size(lying)
    text, confidence = "", 0.0
    if height > STANDING * width:
        for way in (270, 90):
            one = memo.read(turned(lying, way))
            if one[1] > confidence:
                (text, confidence), begun = one, turned(lying, way)
    else:
        text, confidence = memo.read(lying)
    return piece(text, confidence, begun, level(lying, found.degrees + found.skew))


def _bounded(pixels: Pixels) -> Pixels:
    longest = max(pixels.shape[:2])
    if longest <= LONGEST_SIDE:
        return pixels
    height, width = (max(1, side * LONGEST_SIDE // longest) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _contrasted(pixels: Pixels) -> Pixels:
    """Ink and paper pulled apart where they are nearly one: a faint print, a photograph in fog."""
    sample = pixels[:: max(1, pixels.shape[0] // 500), :: max(1, pixels.shape[1] // 500)]
    dark, light = np.percentile(sample, [0.5, 99.5])
    if light - dark >= FAINT or light == dark:
        return pixels
    levels = np.clip((np.arange(256) - dark) * (255 / (light - dark)), 0, 255).astype(np.uint8)
    return np.asarray(levels[pixels], dtype=np.uint8)


def _placed(line: Piece, back: float) -> Piece:
    return line if back == 1 else replace(line, quad=line.quad * np.float32(back))
