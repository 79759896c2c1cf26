"""A model hub on the loopback for the tests that download, in place of the real one and its cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from tests.registry import files
from tests.registry.hub_server import Hub, Repository, running

WEIGHTS = files.safetensors(values=50_000)
CONFIG = json.dumps({"model_type": "bert"}).encode()
TOKENIZER = json.dumps({"model": {"type": "WordPiece"}}).encode()
BERT = {
    "config.json": CONFIG,
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"\x80" + bytes(2000),
    "tokenizer.json": TOKENIZER,
    "1_Pooling/config.json": b"{}",
    "onnx/model.onnx": files.onnx() + bytes(2000),
    "README.md": b"# a model",
    "training_args.bin": b"\x80.",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The library's endpoint for the length of a test; it holds `someone/local`."""
    hub = Hub(repositories={"someone/local": Repository(files=dict(BERT))})
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running(hub):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"  # made of the endpoint at import
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield hub
    huggingface_hub.close_session()
