"""Text of images and PDFs, with boxes and the way each page lay; it downloads nothing and keeps no page."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from registry.engines import Engine, lacking
from registry.schema import Card
from registry.weights import Placed, verify
from workers.modality import Batch, Code, Item, Machine, Picture, Result, WorkerError
from workers.pages import pages

SHORTEST_SIDE = 8  # pixels: no legible letter is smaller
DETECTION = "PP-OCRv6_det_small.onnx"
RECOGNITION = "PP-OCRv6_rec_small.onnx"


def load(card: Card, machine: Machine) -> Any:
    """Both networks of the card's engine, loaded and run once so that their memory is counted.

    Raises WorkerError, DamagedWeights.
    """
    here = machine.placed(card)
    if here is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    verify(card, here.folder)
    reader = _reader(here, machine)
    reader.find(np.full((64, 256, 3), 255, dtype=np.uint8))
    reader.read(np.full((48, 320, 3), 255, dtype=np.uint8))
    return reader


def infer(loaded: Any, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [one per media item]}: {"text", "lines", "width", "height", "orientation", "skew"}.

    lines: {"text", "confidence" (0 to 1), "box" (four [x, y] corners, clockwise, begun where the line begins, in
    pixels of the page as it was sent with its EXIF orientation followed)}, in reading order: columns one after the
    other, tables row by row with tabs between distant cells. text: the lines joined by newlines, "" for a page without
    text. orientation: degrees (0, 90, 180, 270) by which the text is turned clockwise on that page; skew: those beyond.
    A file of several pages (PDF, TIFF) has instead {"text" (pages parted by a form feed), "pages": [one each]}.
    """
    return [_item(loaded, item, batch) for item in batch.items]


def _reader(here: Placed, machine: Machine) -> Any:
    if here.variant is not None and here.variant.runs_on is Engine.PADDLEOCR:
        if advice := lacking(Engine.PADDLEOCR):
            raise WorkerError(Code.MODEL_LOAD_FAILED, advice)
        from workers.reading.paddle import Paddle  # noqa: PLC0415 - 1.4 GB that only its own card pays for

        return Paddle(here.folder, machine)
    from workers.reading.networks import Networks  # noqa: PLC0415 - OpenCV, ONNX Runtime: for who reads pages

    return Networks(here.folder / DETECTION, here.folder / RECOGNITION, machine)


def _item(reader: Any, item: Item, batch: Batch) -> Result | WorkerError:
    if not item.media:
        return WorkerError(Code.INVALID_INPUT, "ocr needs at least one image or PDF; `media` is empty")
    try:
        files = [_file(reader, picture, f"media[{number}]", batch) for number, picture in enumerate(item.media)]
    except WorkerError as error:
        return error
    return {"results": files}


def _file(reader: Any, picture: Picture, name: str, batch: Batch) -> dict[str, Any]:
    found = []
    for page in pages(picture, name, shortest_side=SHORTEST_SIDE):
        batch.check_time()
        found.append(_page(reader, page, batch))
    if len(found) == 1:
        return found[0]
    return {"text": "\f".join(page["text"] for page in found), "pages": found}


def _page(reader: Any, image: Image.Image, batch: Batch) -> dict[str, Any]:
    from workers.reading.page import read  # noqa: PLC0415 - as in `_reader`

    pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # the networks were trained on blue first
    reading = read(reader, pixels, batch.check_time)
    lines = [
        {
            "text": line.text,
            "confidence": round(line.confidence, 4),
            "box": line.quad.astype(float).round(1).tolist(),
        }
        for line in reading.lines
    ]
    return {
        "text": "\n".join(line.text for line in reading.lines),
        "lines": lines,
        "width": image.width,
        "height": image.height,
        "orientation": reading.direction.degrees,
        "skew": reading.direction.skew,
    }
