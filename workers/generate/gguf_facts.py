"""What a GGUF file says of its model: the facts that memory and prompts are planned by; it reads no tensor."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.weights.gguf_header import ARRAY, FIXED, TEXT
from registry.weights.headers import Header

CODES = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
NUMBERS = (4, 5)  # 32-bit whole numbers: what lists per layer and per token hold
LONGEST_LIST = 4096  # per layer at most; the vocabulary's lists are passed over
HALF_BYTES = 2  # the cache is kept in 16-bit floats
CONTROL = 3  # a token's type in GGUF
TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
Value = str | float | int | bool | tuple[str | float | int | bool, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """`context_tokens` is what the model was trained for; `cache_bytes` is what each token of context takes;
    `controls` are the texts of tokens that steer it, such as the end of a turn."""

    context_tokens: int
    cache_bytes: int
    has_template: bool
    controls: frozenset[str] = field(repr=False)


def read_facts(path: Path) -> Facts:
    """Raises DamagedWeights where the file is no GGUF or does not say what its model is like."""
    told = _metadata(path)
    name = told.get("general.architecture")

    def numbers(key: str, default: int | None = None) -> tuple[int, ...]:
        """One, or one for each layer; a model may have layers without attention, which say 0."""
        value = told.get(f"{name}.{key}", default)
        each = value if isinstance(value, tuple) and value else (value,)
        found = tuple(one for one in each if isinstance(one, int) and not isinstance(one, bool) and one >= 0)
        if len(found) < len(each) or not any(found):
            with Header.open(path, "GGUF") as header:
                raise header.damaged(f"{name}.{key} is {value!r:.40}")
        return found

    layers, heads = max(numbers("block_count")), max(numbers("attention.head_count"))
    width = max(numbers("embedding_length")) // heads
    wide = max(numbers("attention.key_length", width)) + max(numbers("attention.value_length", width))
    kept = numbers("attention.head_count_kv", heads)
    return Facts(
        context_tokens=max(numbers("context_length")),
        cache_bytes=(sum(kept) if len(kept) > 1 else layers * kept[0]) * wide * HALF_BYTES,
        has_template=bool(told.get("tokenizer.chat_template")),
        controls=_controls(told),
    )


def _controls(told: Mapping[str, Value]) -> frozenset[str]:
    tokens, types = told.get(TOKENS), told.get(TYPES)
    if not isinstance(tokens, tuple) or not isinstance(types, tuple):
        return frozenset()
    return frozenset(str(token) for token, kind in zip(tokens, types, strict=False) if kind == CONTROL and token)


def _metadata(path: Path) -> Mapping[str, Value]:
    with Header.open(path, "GGUF") as header:
        header.require(header.read(min(4, header.rest)) == b"GGUF", "it does not begin with GGUF")
        header.number("<I")
        header.number("<Q")
        found: dict[str, Value] = {}
        for _ in range(header.count("<Q", each_bytes=13)):
            name = _text(header)
            kind = header.number("<I")
            value = _list(header, whole=name in (TOKENS, TYPES)) if kind == ARRAY else _one(header, kind)
            if value is not None:
                found[name] = value
        return found


def _text(header: Header) -> str:
    return header.read(header.number("<Q")).decode("utf-8", errors="replace")


def _one(header: Header, kind: int) -> Value:
    if kind == TEXT:
        return _text(header)
    header.require(kind in CODES, f"metadata of the unknown type {kind}")
    found: Value = struct.unpack(CODES[kind], header.read(FIXED[kind]))[0]
    return found


def _list(header: Header, *, whole: bool) -> Value | None:
    """None for a list that is passed over: merges and scores have hundreds of thousands of entries."""
    each = header.number("<I")
    count = header.count("<Q", each_bytes=FIXED.get(each, 8))
    if each == TEXT and whole:
        return tuple(_text(header) for _ in range(count))
    if each == TEXT:
        header.skip_texts(count)
        return None
    header.require(each in CODES, f"a list of the unknown type {each}")
    if count > LONGEST_LIST and not whole:
        header.skip(count * FIXED[each])
        return None
    return (
        tuple(array(CODES[each][1], header.read(count * FIXED[each])))
        if each in NUMBERS
        else tuple(struct.unpack(CODES[each], header.read(FIXED[each]))[0] for _ in range(count))
    )
