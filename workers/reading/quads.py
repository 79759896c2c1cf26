"""Boxes of lines as four corners: how they lie, and the pixels inside them; it finds no line and reads none.

x runs right and y down, so clockwise on the page is a growing angle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""height × width × 3, blue first: the networks were trained on it."""
Quad = NDArray[np.float32]
"""Four [x, y] corners, clockwise. As found: the first edge is the one nearest to pointing right. As read: the first
edge points where the text runs, so it begins where the text begins."""


def clockwise(corners: NDArray[np.float32]) -> Quad:
    """Corners in any direction around, started so that the first edge points right (within 45 degrees)."""
    first, second = corners[1] - corners[0], corners[2] - corners[1]
    if first[0] * second[1] - first[1] * second[0] < 0:
        corners = corners[::-1]
    edges = np.roll(corners, -1, axis=0) - corners
    slopes = edges[:, 0] / np.maximum(np.hypot(edges[:, 0], edges[:, 1]), 1e-6)
    return np.roll(corners, -int(slopes.argmax()), axis=0).astype(np.float32)


def turned(quad: Quad, degrees: int) -> Quad:
    """The same box, begun where a text begins that is turned clockwise by `degrees` (0, 90, 180, 270)."""
    return np.roll(quad, -(degrees // 90), axis=0)


def size(quad: Quad) -> tuple[float, float]:
    """Width (along the first edge) and height, pixels."""
    width, height = np.hypot(*(quad[1] - quad[0])), np.hypot(*(quad[2] - quad[1]))
    return float(width), float(height)


def angle(quad: Quad) -> float:
    """Degrees clockwise from pointing right to where the first edge points, −180 to 180."""
    x, y = quad[1] - quad[0]
    return float(np.degrees(np.arctan2(y, x)))


def level(quads: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """The same points on a page turned back by `degrees`, so that text runs right. The origin stays, so coordinates
    may be negative."""
    turn = np.radians(degrees)
    back = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(quads @ back, dtype=np.float32)


def cut(pixels: Pixels, quad: Quad) -> Pixels:
    """What the box holds, laid so that its first edge points right; at least one pixel each way."""
    limits = [pixels.shape[1], pixels.shape[0]]
    left, top = np.clip(np.floor(quad.min(axis=0)).astype(int), 0, np.array(limits) - 1)
    right, bottom = np.clip(np.ceil(quad.max(axis=0)).astype(int) + 1, 1, limits)
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    width, height = (max(1, round(side)) for side in size(quad))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform((quad - [left, top]).astype(np.float32), target)
    found = cv2.warpPerspective(part, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.uint8)
