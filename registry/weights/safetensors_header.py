"""The header of a safetensors file held to its format; it reads no tensor.

Format: https://github.com/huggingface/safetensors: 8 bytes little-endian length, JSON, then the data without holes.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from registry.weights.headers import Header, short

LARGEST_HEADER_BYTES = 100_000_000  # the library's own limit
# Bits of one value, by the format's words.
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


def check_safetensors(path: Path) -> None:
    """Every tensor's type, shape and place agree, and the data begins and ends where the header says.

    Raises DamagedWeights.
    """
    with Header.open(path, "safetensors") as header:
        length = header.number("<Q")
        header.require(2 <= length <= min(header.rest, LARGEST_HEADER_BYTES), f"a header of {length} bytes")
        tensors = _table(header, header.read(length))
        ends = sorted(_span(header, name, tensor) for name, tensor in tensors.items() if name != "__metadata__")
        at = 0
        for begin, end in ends:
            header.require(begin == at, f"a hole or an overlap at byte {min(begin, at)} of the data")
            at = end
        header.require(at == header.rest, f"{header.rest} bytes of data, its header tells of {at}")


def _table(header: Header, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise header.damaged("its header is no JSON") from error
    header.require(isinstance(found, dict), "its header is no JSON object")
    table: dict[str, Any] = found
    return table


def _span(header: Header, name: str, tensor: Any) -> tuple[int, int]:
    header.require(isinstance(tensor, dict), f"{short(name)} is no object")
    bits, shape, offsets = BITS.get(str(tensor.get("dtype"))), tensor.get("shape"), tensor.get("data_offsets")
    header.require(bits is not None, f"{short(name)} has the unknown type {short(str(tensor.get('dtype')))}")
    header.require(_are_counts(shape), f"{short(name)} has the shape {short(str(shape))}")
    header.require(_are_counts(offsets) and len(offsets) == 2, f"{short(name)} lies at {short(str(offsets))}")
    begin, end = offsets
    wanted = prod(shape) * (bits or 0)
    header.require(wanted == (end - begin) * 8, f"{short(name)} takes {wanted // 8} bytes, its place is {end - begin}")
    return begin, end


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and 0 <= each < 1 << 62 for each in value)
