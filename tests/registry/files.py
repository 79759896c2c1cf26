"""Small files in the true formats of weights, for the tests of the registry; random bytes where tensors lie."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

QUANTISED = 8  # ggml's Q8_0: 34 bytes per 32 values


def safetensors(values: int = 4000, seed: int = 1) -> bytes:
    """One F32 tensor of so many values."""
    table: dict[str, Any] = {"weight": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}
    header = json.dumps({"__metadata__": {"format": "pt"}, **table}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(4 * values)  # noqa: S311


def gguf(values: int = 3200, words: int = 50, seed: int = 1) -> bytes:
    """Version 3 with a name, a vocabulary, and one Q8_0 tensor."""
    keys = _key("general.architecture", 8, _text("llama")) + _key("general.alignment", 4, struct.pack("<I", 32))
    vocabulary = b"".join(_text(f"word{number}") for number in range(words))
    keys += _key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, words) + vocabulary)
    tensor = _text("blk.0.weight") + struct.pack("<IQIQ", 1, values, QUANTISED, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + keys + tensor
    padded = head + bytes(-len(head) % 32)
    return padded + random.Random(seed).randbytes(values // 32 * 34)  # noqa: S311


def ctranslate2() -> bytes:
    """model.bin as ctranslate2's model_spec.py writes it: one variable of two float32."""
    spec = struct.pack("<I", 6) + _short("WhisperSpec") + struct.pack("<II", 3, 1)
    variable = _short("decoder/scale") + struct.pack("<BIBI", 1, 2, 0, 8) + bytes(8)
    return spec + variable + struct.pack("<I", 0)


def onnx(location: str | None = None, *, in_node: bool = False) -> bytes:
    """A model with one initializer (or one constant node), its data in another file where `location` names it."""
    tensor = _field(1, _varint(2), 0) + _field(8, b"w")
    if location is not None:
        entry = _field(1, b"location") + _field(2, location.encode())
        tensor += _field(13, entry) + _field(14, _varint(1), 0)
    holder = _field(1, _field(4, b"Constant") + _field(5, _field(5, tensor))) if in_node else _field(5, tensor)
    graph = holder + _field(2, b"graph")
    return _field(1, _varint(9), 0) + _field(7, graph) + _field(8, _field(2, _varint(20), 0))


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _short(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def _key(name: str, kind: int, value: bytes) -> bytes:
    return _text(name) + struct.pack("<I", kind) + value


def _field(number: int, value: bytes, wire: int = 2) -> bytes:
    return _varint(number << 3 | wire) + (_varint(len(value)) if wire == 2 else b"") + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
