"""Text of images by PP-OCR on ONNX Runtime (RapidOCR); it downloads nothing and keeps no image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rapidocr import RapidOCR

from registry.schema import Card
from registry.weights import packaged_folder, verify
from workers.images import opened
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

WIDEST_GAP = 1.5  # of a line's height: a wider one separates columns
SHORTEST_SIDE = 8  # pixels: no legible letter is smaller
DETECTION = "PP-OCRv6_det_small.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"


def load(card: Card, machine: Machine) -> RapidOCR:
    """Both networks from the package's own files, loaded and run once so that their memory is counted.

    The angle classifier stays off: it turns upright lines around. Raises WorkerError, DamagedWeights.
    """
    folder = packaged_folder(card)
    if folder is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    verify(card, folder)
    engine = RapidOCR(params=_settings(folder, machine.threads))
    blank = np.full((64, 256, 3), 255, dtype=np.uint8)
    engine(blank, use_cls=False)
    engine(blank, use_det=False, use_cls=False)
    engine.update_params(use_det=True, use_cls=False)
    return engine


def infer(loaded: RapidOCR, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"text", "lines", "width", "height"}, …]}, one per image, top to bottom.

    lines: {"text", "confidence" (0 to 1), "box" (four [x, y] corners, clockwise from top left, in pixels of
    the upright image)}. text: the lines joined by newlines, "" for an image without text. An orientation
    written in EXIF is followed; a page photographed sideways without one is not turned.
    """
    return [_item(loaded, item, batch) for item in batch.items]


def _item(engine: RapidOCR, item: Item, batch: Batch) -> Result | WorkerError:
    if not item.media:
        return WorkerError(Code.INVALID_INPUT, "ocr needs at least one image; `media` is empty")
    try:
        pages = []
        for number, picture in enumerate(item.media):
            batch.check_time()
            pages.append(_read(engine, opened(picture, f"media[{number}]", shortest_side=SHORTEST_SIDE)))
    except WorkerError as error:
        return error
    return {"results": pages}


def _read(engine: RapidOCR, image: Image.Image) -> dict[str, Any]:
    pixels: NDArray[np.uint8] = np.asarray(image)[:, :, ::-1]  # the networks were trained on BGR
    found = engine(np.ascontiguousarray(pixels), use_det=True, use_cls=False)
    pieces = [
        {"text": text, "confidence": round(float(score), 4), "box": np.asarray(box).round(1).tolist()}
        for text, score, box in zip(found.txts or (), found.scores or (), _boxes(found), strict=True)
    ]
    lines = _lines(pieces)
    text = "\n".join(line["text"] for line in lines)
    return {"text": text, "lines": lines, "width": image.width, "height": image.height}


def _lines(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detector cuts a line at wide gaps: neighbours on one height, near each other, become one line."""
    lines: list[dict[str, Any]] = []
    for piece in pieces:
        if lines and _continues(lines[-1]["box"], piece["box"]):
            lines[-1] = _joined(lines[-1], piece)
        else:
            lines.append(piece)
    return lines


def _continues(left: list[list[float]], right: list[list[float]]) -> bool:
    height = min(left[2][1] - left[1][1], right[3][1] - right[0][1])
    overlap = min(left[2][1], right[3][1]) - max(left[1][1], right[0][1])
    gap = right[0][0] - left[1][0]
    return overlap > height / 2 and -height < gap < WIDEST_GAP * height


def _joined(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": f"{left['text']} {right['text']}",
        "confidence": min(left["confidence"], right["confidence"]),
        "box": [left["box"][0], right["box"][1], right["box"][2], left["box"][3]],
    }


def _boxes(found: Any) -> Any:
    return () if found.boxes is None else found.boxes


def _settings(folder: Path, threads: int) -> dict[str, Any]:
    """Explicit paths: with none given, RapidOCR downloads what it does not find."""
    return {
        "Global.use_cls": False,
        "Global.log_level": "error",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.model_path": str(folder / DETECTION),
        "Rec.model_path": str(folder / RECOGNITION),
    }
