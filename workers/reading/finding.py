"""Where the lines of a page are, looked for at the scale that suits its letters; it reads none of them."""

from __future__ import annotations

from math import sqrt

import cv2
import numpy as np

from workers.reading.quads import Pixels, Quad, size
from workers.reading.reader import STRIDE, Reader

FIRST_SIDE = 1280  # pixels of the longer side at the first look
MOST_GROWN = 2.0  # a small picture is enlarged by that much at the first look
MOST_LOOKED_AT = 2_400_000  # pixels: about 500 MB while the network runs
LEGIBLE = 14.0  # pixels: where a fifth of the lines is lower, the network misses and merges lines
WANTED = 20.0  # pixels of a line that it finds best


def lines(reader: Reader, pixels: Pixels) -> list[Quad]:
    """The boxes of a page's lines in its own coordinates, any order.

    Looks twice where the letters are small at first, or where nothing is found on a page that was shrunk.
    """
    scale = min(FIRST_SIDE / max(pixels.shape[:2]), MOST_GROWN, _largest(pixels))
    found = _look(reader, pixels, scale)
    better = min(_better(found, scale), _largest(pixels))
    return _look(reader, pixels, better) if better > 1.2 * scale else found


def _better(found: list[Quad], scale: float) -> float:
    if not found:
        return max(scale, 1.0)
    low = float(np.percentile([min(size(quad)) for quad in found], 20)) * scale
    return scale * WANTED / low if low < LEGIBLE else scale


def _largest(pixels: Pixels) -> float:
    """The scale at which the page, padded to the network's stride, is as large as may be looked at."""
    height, width = pixels.shape[:2]
    scale = sqrt(MOST_LOOKED_AT / (height * width))
    thin = min(height, width) * scale < STRIDE  # then padding, not the page, is what is large
    return MOST_LOOKED_AT / STRIDE / max(height, width) if thin else scale


def _look(reader: Reader, pixels: Pixels, scale: float) -> list[Quad]:
    height, width = pixels.shape[:2]
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    seen = np.asarray(cv2.resize(pixels, shape, interpolation=how), dtype=np.uint8)
    back = np.array([width / shape[0], height / shape[1]], np.float32)
    return [quad * back for quad in reader.find(seen)]
