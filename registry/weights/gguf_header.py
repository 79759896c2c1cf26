"""The header of a GGUF file held to its format; it reads no tensor.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Version 1 is refused as llama.cpp refuses it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from registry.weights.headers import Header, short

MOST_DIMENSIONS = 4
LONGEST_NAME = 65_535
DEEPEST = 4  # arrays in arrays
DEFAULT_ALIGNMENT = 32
# Bytes of a value of metadata, by its type; 8 is text, 9 an array.
FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, ARRAY, UINT32 = 8, 9, 4
# ggml type → (values in a block, bytes of a block); a type we do not know is held to its offset alone.
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    30: (1, 2),
}


def check_gguf(path: Path) -> None:
    """Magic, version, every key and every tensor's place in the file. Raises DamagedWeights."""
    with Header.open(path, "GGUF") as header:
        magic = header.read(min(4, header.rest))
        header.require(magic == b"GGUF", f"it begins with {magic!r}")
        version = header.number("<I")
        header.require(version in (2, 3), f"version {version}, known are 2 and 3")
        tensors, keys = header.number("<Q"), header.number("<Q")
        header.require(tensors * 24 + keys * 13 <= header.rest, f"{tensors} tensors and {keys} keys in {header.rest} B")
        alignment = _keys(header, keys)
        places = [_tensor(header) for _ in range(tensors)]
        begin = -(-header.file.tell() // alignment) * alignment
        for name, offset, size in places:
            header.require(offset % alignment == 0, f"{short(name)} lies at {offset}, not a multiple of {alignment}")
            end = begin + offset + size
            header.require(end <= header.size, f"{short(name)} ends at byte {end}, the file at {header.size}")


def _keys(header: Header, count: int) -> int:
    """Walks over the metadata; returns the alignment it names."""
    alignment = DEFAULT_ALIGNMENT
    for _ in range(count):
        name = _text(header)
        kind = header.number("<I")
        if name == "general.alignment" and kind == UINT32:
            alignment = header.number("<I")
            header.require(alignment in {1 << bit for bit in range(3, 21)}, f"an alignment of {alignment}")
        else:
            _value(header, kind, 0)
    return alignment


def _value(header: Header, kind: int, depth: int) -> None:
    if kind == TEXT:
        header.skip(header.number("<Q"))
        return
    if kind != ARRAY:
        header.require(kind in FIXED, f"metadata of the unknown type {kind}")
        header.skip(FIXED[kind])
        return
    header.require(depth < DEEPEST, "arrays in arrays without end")
    each = header.number("<I")
    count = header.count("<Q", each_bytes=FIXED.get(each, 8))
    if each in FIXED:
        header.skip(count * FIXED[each])
        return
    if each == TEXT:
        header.skip_texts(count)
        return
    for _ in range(count):
        _value(header, each, depth + 1)


def _tensor(header: Header) -> tuple[str, int, int]:
    """Name, offset in the data, bytes."""
    name = _text(header)
    dimensions = header.number("<I")
    header.require(dimensions <= MOST_DIMENSIONS, f"{short(name)} has {dimensions} dimensions")
    shape = [header.number("<Q") for _ in range(dimensions)]
    kind, offset = header.number("<I"), header.number("<Q")
    values, block_bytes = BLOCKS.get(kind, (1, 0))
    return name, offset, -(-prod(shape) // values) * block_bytes


def _text(header: Header) -> str:
    length = header.number("<Q")
    header.require(length <= LONGEST_NAME, f"a name of {length} bytes")
    return header.read(length).decode("utf-8", errors="replace")
