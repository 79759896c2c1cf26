"""The libraries that run weights, what each needs installed, and how to get it; it imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from types import MappingProxyType


class Engine(StrEnum):
    """What a variant of a card is run with."""

    BUILTIN = "builtin"  # plain Python in the modality's own file
    ONNXRUNTIME = "onnxruntime"
    TRANSFORMERS = "transformers"
    LLAMA_CPP = "llama.cpp"
    FASTER_WHISPER = "faster-whisper"
    PADDLEOCR = "paddleocr"


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """The modules that must be importable, and the extra of this project that brings them."""

    modules: tuple[str, ...]
    extra: str


NEEDS: Mapping[Engine, Needs] = MappingProxyType(
    {
        Engine.ONNXRUNTIME: Needs(modules=("onnxruntime", "onnx", "tokenizers", "safetensors"), extra="local"),
        Engine.TRANSFORMERS: Needs(modules=("torch", "transformers"), extra="torch"),
        Engine.LLAMA_CPP: Needs(modules=("xllamacpp",), extra="llm"),
        Engine.FASTER_WHISPER: Needs(modules=("faster_whisper",), extra="audio"),
        Engine.PADDLEOCR: Needs(modules=("paddleocr", "paddle"), extra="paddle"),
    }
)


def lacking(engine: Engine) -> str | None:
    """None when this engine can be imported here, else a sentence: what is missing and what to run."""
    needs = NEEDS.get(engine)
    absent = [name for name in needs.modules if find_spec(name) is None] if needs else []
    if needs is None or not absent:
        return None
    return f"{engine} needs {', '.join(absent)}; run `pip install 'pennyroute[{needs.extra}]'`."
