"""PaddleOCR's own detector and recogniser behind the interface of `Reader`; model folders are local, it fetches none.

Seen with paddleocr 3.7: a folder is given for each network, so nothing is looked for on a hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from workers.modality import Code, Machine, WorkerError
from workers.reading.quads import Pixels, Quad, clockwise

PARTS = ("det", "rec")
CONFIG = "inference.yml"
RUN_BY = {
    "inference.json": "paddle_static",
    "inference.pdmodel": "paddle_static",
    "inference.onnx": "onnxruntime",
}
"""The file of a network → the engine of PaddleOCR that runs it."""
LONGEST_SIDE = 4096  # pixels: PaddleOCR shrinks what is longer; the page's own scale is chosen before


class Paddle:
    """Both networks of a card's folder: `det/` and `rec/` as PaddleOCR exports or ships them."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        """Raises WorkerError: a part is missing, or PaddleOCR cannot load it."""
        engines = {part: _engine(folder / part) for part in PARTS}
        import paddleocr  # noqa: PLC0415 - 1.4 GB that only its own card pays for

        try:
            self._detection = paddleocr.TextDetection(**_arguments(folder / "det", engines["det"], machine))
            self._recognition = paddleocr.TextRecognition(**_arguments(folder / "rec", engines["rec"], machine))
        except (OSError, ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise WorkerError(
                Code.MODEL_LOAD_FAILED, f"PaddleOCR cannot load {folder}: {error}; {_advice(folder)}"
            ) from error

    def find(self, pixels: Pixels) -> list[Quad]:
        """See Reader."""
        longest = min(LONGEST_SIDE, max(pixels.shape[:2]))
        (found,) = self._detection.predict(
            pixels, batch_size=1, limit_side_len=longest, limit_type="max", max_side_limit=LONGEST_SIDE
        )
        return [clockwise(np.asarray(corners, dtype=np.float32)) for corners in found["dt_polys"]]

    def read(self, line: Pixels) -> tuple[str, float]:
        """See Reader."""
        (found,) = self._recognition.predict(line, batch_size=1)
        return str(found["rec_text"]).strip(), float(found["rec_score"])

    def close(self) -> None:
        """Ends both predictors."""
        self._detection.close()
        self._recognition.close()


def _engine(part: Path) -> str:
    """How this network is run, by the files that are there."""
    if (part / CONFIG).is_file():
        for name, engine in RUN_BY.items():
            if (part / name).is_file():
                return engine
    raise WorkerError(Code.MODEL_LOAD_FAILED, f"{part} is no model folder of PaddleOCR; {_advice(part.parent)}")


def _advice(folder: Path) -> str:
    return (
        f"put the unpacked inference models of PaddleOCR into {folder / 'det'} (PP-OCRv6_small_det, say) and"
        f" {folder / 'rec'} (PP-OCRv6_small_rec): each holds {CONFIG} and one of {', '.join(RUN_BY)}"
        " (with inference.pdiparams)"
    )


def _arguments(part: Path, engine: str, machine: Machine) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "model_name": _name(part),
        "model_dir": str(part),
        "engine": engine,
        "device": "gpu" if machine.device == "cuda" else "cpu",
    }
    if engine == "paddle_static":
        # oneDNN's kernels lack operations of the new networks on some CPUs: correct before fast
        return shared | {"cpu_threads": machine.threads, "enable_mkldnn": False}
    return shared


def _name(part: Path) -> str:
    """The network's name as its configuration gives it: PaddleOCR picks pre- and post-processing by it."""
    for line in (part / CONFIG).read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().partition(":")
        if key == "model_name":
            return value.strip().strip("'\"")
    raise WorkerError(Code.MODEL_LOAD_FAILED, f"{part / CONFIG} names no model_name; {_advice(part.parent)}")
