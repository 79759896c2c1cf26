"""PaddleOCR itself as the reader of pages, on local folders: its true architectures with random weights in its static
format, PP-OCR's real weights in its ONNX format. Runs where the extra `paddle` is installed; the refusals always."""

from __future__ import annotations

import string
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.load import load
from registry.schema import Task
from registry.weights import packaged_folder
from tests.workers.scans import PAGE, distance, encoded, page
from workers import ocr
from workers.modality import Batch, Code, Item, Machine, Picture, WorkerError
from workers.reading.paddle import Paddle

HERE = find_spec("paddleocr") is not None and find_spec("paddle") is not None
needs_paddle = [
    pytest.mark.skipif(not HERE, reason="the extra `paddle` (1.4 GB) is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Paddle's packages warn about each other at import
]
CHARACTERS = list(string.ascii_letters + string.digits)


def config(part: Path, name: str, characters: list[str]) -> None:
    """The `inference.yml` that PaddleOCR's own converter writes for this network."""
    import yaml  # noqa: PLC0415 - comes with PaddleOCR
    from paddlex.modules.base.utils.pdparams2safetensors import inference_meta  # noqa: PLC0415 - as above

    content = {"Global": {"model_name": name}, **inference_meta.build_inference_meta(name)}
    content.pop("Hpi")
    if characters:
        content["PostProcess"]["character_dict"] = characters
    part.mkdir(parents=True)
    (part / "inference.yml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def export(network: Any, path: Path) -> None:
    """In PaddleOCR's static format: inference.json and inference.pdiparams."""
    import paddle  # noqa: PLC0415 - 1.4 GB

    class Whole(paddle.nn.Layer):  # type: ignore[misc] # ships no types
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            return self.network.head(self.network.model(x))

    whole = Whole()
    whole.eval()
    shape = paddle.static.InputSpec([None, 3, None, None], "float32", name="x")
    paddle.jit.save(whole, str(path / "inference"), input_spec=[shape])


@pytest.fixture(scope="module")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the card's own folder in it."""
    from paddlex.inference.models.text_detection import modeling as detection  # noqa: PLC0415 - 1.4 GB
    from paddlex.inference.models.text_recognition import modeling as recognition  # noqa: PLC0415 - as above

    models = tmp_path_factory.mktemp("models")
    small, tiny = detection.PPOCRV6SmallDet, recognition.PPOCRV6TinyRec
    config(models / "paddleocr/det", "PP-OCRv6_small_det", [])
    export(small(small.config_class()), models / "paddleocr/det")
    config(models / "paddleocr/rec", "PP-OCRv6_tiny_rec", CHARACTERS)
    export(tiny(tiny.config_class(head_out_channels=len(CHARACTERS) + 2)), models / "paddleocr/rec")
    return models


class TestWithPaddle:
    pytestmark = needs_paddle

    def test_networks_in_the_static_format_load_from_local_folders_and_answer(self, random_models: Path) -> None:
        reader = Paddle(random_models / "paddleocr", Machine(models_dir=random_models))
        line = np.random.default_rng(3).integers(0, 256, (48, 320, 3), dtype=np.uint8)
        text, confidence = reader.read(line)
        assert set(text) <= {*CHARACTERS, " "}
        assert 0 <= confidence <= 1
        assert all(quad.shape == (4, 2) for quad in reader.find(line))
        reader.close()

    def test_the_card_is_served_through_the_same_modality(self, random_models: Path) -> None:
        reader = ocr.load(load().get("paddleocr"), Machine(models_dir=random_models))
        media = (Picture(content_type="image/png", data=encoded(page(12))),)
        (result,) = ocr.infer(reader, Batch(task=Task.OCR, items=(Item(media=media),)))
        assert not isinstance(result, WorkerError)
        assert set(result["results"][0]) == {"text", "lines", "width", "height", "orientation", "skew"}

    @pytest.mark.skipif(
        packaged_folder(load().get("ppocr-rapidocr")) is None or find_spec("onnxruntime") is None,
        reason="rapidocr, which carries the real weights, is not installed",
    )
    @pytest.mark.parametrize("degrees", [0, 90, 180])
    def test_real_weights_in_the_onnx_format_read_a_page(self, tmp_path: Path, degrees: int) -> None:
        from onnxruntime import InferenceSession  # noqa: PLC0415 - the extra `local`

        weights = packaged_folder(load().get("ppocr-rapidocr"))
        assert weights is not None
        session = InferenceSession(weights / ocr.RECOGNITION, providers=["CPUExecutionProvider"])
        characters = session.get_modelmeta().custom_metadata_map["character"].split("\n")
        folder = tmp_path / "paddleocr"
        config(folder / "det", "PP-OCRv6_small_det", [])
        config(folder / "rec", "PP-OCRv6_small_rec", characters)
        (folder / "det/inference.onnx").write_bytes((weights / ocr.DETECTION).read_bytes())
        (folder / "rec/inference.onnx").write_bytes((weights / ocr.RECOGNITION).read_bytes())
        reader = ocr.load(load().get("paddleocr"), Machine(models_dir=tmp_path))
        image = encoded(page().rotate(-degrees, expand=True))
        media = (Picture(content_type="image/png", data=image),)
        (result,) = ocr.infer(reader, Batch(task=Task.OCR, items=(Item(media=media),)))
        assert not isinstance(result, WorkerError)
        (found,) = result["results"]
        assert distance(found["text"], PAGE) / len(PAGE) <= 0.02
        assert found["orientation"] == degrees


@pytest.mark.skipif(HERE, reason="the extra `paddle` is installed")
def test_without_paddle_the_card_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "paddleocr/det").mkdir(parents=True)
    for name in ("inference.yml", "inference.json", "inference.pdiparams"):
        (tmp_path / "paddleocr/det" / name).write_text("Global:\n  model_name: PP-OCRv6_small_det\n")
    with pytest.raises(WorkerError) as refusal:
        ocr.load(load().get("paddleocr"), Machine(models_dir=tmp_path))
    assert refusal.value.code is Code.MODEL_LOAD_FAILED
    assert refusal.value.message == ("paddleocr needs paddleocr, paddle; run `pip install 'pennyroute[paddle]'`.")


def test_a_folder_that_lacks_a_network_is_refused_with_what_to_put_where(tmp_path: Path) -> None:
    (tmp_path / "det").mkdir()
    (tmp_path / "det/inference.yml").write_text("Global:\n  model_name: PP-OCRv6_small_det\n")
    with pytest.raises(WorkerError) as refusal:
        Paddle(tmp_path, Machine(models_dir=tmp_path))
    assert refusal.value.code is Code.MODEL_LOAD_FAILED
    assert refusal.value.message.startswith(f"{tmp_path / 'det'} is no model folder of PaddleOCR; put the unpacked ")
    assert refusal.value.message.endswith(
        "each holds inference.yml and one of inference.json, inference.pdmodel, inference.onnx (with"
        " inference.pdiparams)"
    )


def test_without_any_weights_the_card_says_that_they_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(WorkerError) as refusal:
        ocr.load(load().get("paddleocr"), Machine(models_dir=tmp_path))
    assert refusal.value.code is Code.MODEL_NOT_FOUND
