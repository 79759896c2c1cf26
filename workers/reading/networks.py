"""PP-OCR's two networks on ONNX Runtime: where lines are, and what one line says; it knows no pages and no order.

Pre- and post-processing as PaddleOCR's (DB: https://arxiv.org/abs/1911.08947; CTC), with three differences: a page is
padded, not stretched, to the network's stride; lines are cut from the page's full resolution; they are read one by
one, since a batch is no faster on one thread and its widest line decides the memory of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from workers.modality import Machine
from workers.reading.quads import Pixels, Quad, clockwise
from workers.reading.reader import STRIDE

DETECTOR_MEAN = (0.485, 0.456, 0.406)  # as PaddleOCR's own configuration of this network says; blue first
DETECTOR_SPREAD = (0.229, 0.224, 0.225)
INK = 0.3  # probability from which a pixel belongs to a line
SURE = 0.5  # mean probability that a line needs
UNCLIP = 1.6  # the network marks a line's core; this is how far its box is grown
MOST_LINES = 1000
SHORTEST_SIDE = 3  # of a line's core, pixels of the detector
LINE_HEIGHT = 48
NARROWEST = 320  # the width that short lines are padded to, as in training
WIDEST = 1920  # pixels at LINE_HEIGHT; a wider line is cut, its scores would fill the memory
SEARCHED = 320  # how far from the end of a piece its cut is looked for


class Networks:
    """Both networks, loaded."""

    def __init__(self, detection: Path, recognition: Path, machine: Machine) -> None:
        self._detection = _session(detection, machine)
        self._recognition = _session(recognition, machine)
        characters = self._recognition.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._characters = ["", *characters, " "]

    def find(self, pixels: Pixels) -> list[Quad]:
        """See Reader. Memory grows with the picture: about 100 MB per megapixel."""
        chances = _run(self._detection, _prepared(_padded(pixels), DETECTOR_MEAN, DETECTOR_SPREAD))[0, 0]
        height, width = pixels.shape[:2]
        core = cv2.dilate((chances > INK).astype(np.uint8), np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(core, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        quads = (_quad(contour, chances) for contour in contours[:MOST_LINES])
        return [np.clip(quad, 0, [width - 1, height - 1]).astype(np.float32) for quad in quads if quad is not None]

    def read(self, line: Pixels) -> tuple[str, float]:
        """See Reader."""
        parts = [self._part(part) for part in _parts(_scaled(line))]
        texts = [text for text, _ in parts if text]
        confidences = [chance for _, chances in parts for chance in chances]
        return " ".join(texts), float(np.mean(confidences)) if confidences else 0.0

    def _part(self, line: Pixels) -> tuple[str, list[float]]:
        missing = max(0, NARROWEST - line.shape[1])
        padded = np.pad(_prepared(line), ((0, 0), (0, 0), (0, 0), (0, missing)))
        scores = _run(self._recognition, padded)[0]
        best = scores.argmax(axis=1)
        kept = np.flatnonzero((best != 0) & (best != np.concatenate([[-1], best[:-1]])))
        text = "".join(self._characters[index] for index in best[kept])
        return text.strip(), scores[kept, best[kept]].tolist()


def _session(path: Path, machine: Machine) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # an arena keeps the memory of the largest page it ever saw
    there = onnxruntime.get_available_providers()
    cuda = ["CUDAExecutionProvider"] if machine.device == "cuda" and "CUDAExecutionProvider" in there else []
    return onnxruntime.InferenceSession(str(path), options, providers=[*cuda, "CPUExecutionProvider"])


def _run(session: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    (found,) = session.run(None, {session.get_inputs()[0].name: values})
    result: NDArray[np.float32] = found
    return result


def _prepared(
    pixels: Pixels, mean: tuple[float, ...] = (0.5, 0.5, 0.5), spread: tuple[float, ...] = (0.5, 0.5, 0.5)
) -> NDArray[np.float32]:
    """1 × 3 × height × width, less the mean and in units of the spread that a network was trained with."""
    middle, width = np.asarray(mean, dtype=np.float32), np.asarray(spread, dtype=np.float32)
    values = (pixels.astype(np.float32) / np.float32(255) - middle) / width
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def _padded(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")


def _quad(contour: Any, chances: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The box of one line, grown to its letters' full height; None for specks and for what is likely no text."""
    centre, size, angle = cv2.minAreaRect(contour)
    if min(size) < SHORTEST_SIDE:
        return None
    core = cv2.boxPoints((centre, size, angle))
    if _mean_within(core, chances) < SURE:
        return None
    grow = 2 * UNCLIP * size[0] * size[1] / (2 * (size[0] + size[1]))
    return clockwise(cv2.boxPoints((centre, (size[0] + grow, size[1] + grow), angle)))


def _mean_within(box: NDArray[np.float32], chances: NDArray[np.float32]) -> float:
    limits = [chances.shape[1] - 1, chances.shape[0] - 1]
    left, top = np.clip(np.floor(box.min(axis=0)).astype(int), 0, limits)
    right, bottom = np.clip(np.ceil(box.max(axis=0)).astype(int), 0, limits)
    mask = np.zeros((bottom - top + 1, right - left + 1), np.uint8)
    cv2.fillPoly(mask, [(box - [left, top]).astype(np.int32)], [1])
    return float(cv2.mean(chances[top : bottom + 1, left : right + 1], mask)[0])


def _scaled(line: Pixels) -> Pixels:
    height, width = line.shape[:2]
    wanted = max(1, round(width * LINE_HEIGHT / height))
    how = cv2.INTER_AREA if height > LINE_HEIGHT else cv2.INTER_LINEAR
    result: Pixels = np.asarray(cv2.resize(line, (wanted, LINE_HEIGHT), interpolation=how), dtype=np.uint8)
    return result


def _parts(line: Pixels) -> Iterator[Pixels]:
    """The line, cut where its widest gaps are if it is wider than WIDEST."""
    while line.shape[1] > WIDEST:
        cut = WIDEST - SEARCHED + _gap(line[:, WIDEST - SEARCHED : WIDEST])
        yield line[:, :cut]
        line = line[:, cut:]
    yield line


def _gap(window: Pixels) -> int:
    """The column in the middle of the emptiest stretch that is about as wide as a space."""
    contrast = window.astype(np.float32).std(axis=(0, 2))
    smooth = np.convolve(contrast, np.ones(LINE_HEIGHT // 4), mode="same")
    return int(smooth.argmin())
