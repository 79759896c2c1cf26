"""The outer fields of an ONNX file, and where it keeps data outside itself; it reads no tensor and needs no package.

Format: onnx.proto3. A protobuf message is a row of (field, wire type, value); wire type 2 carries its own length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from registry.weights.errors import UnsafeWeights
from registry.weights.folders import safe_name
from registry.weights.headers import Header, short

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
IR_VERSION, GRAPH, OPSET_IMPORT = 1, 7, 8  # of ModelProto
EXTERNAL_DATA = 13  # of TensorProto
# Message → the fields in which a tensor may lie, with the message they hold.
_WAYS = {
    "model": {GRAPH: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
DEEPEST = 40  # graphs in nodes in graphs
KEY, VALUE = 1, 2  # of StringStringEntryProto
LONGEST_VARINT = 10
LONGEST_TEXT = 4096


def check_onnx(path: Path) -> None:
    """A model with version, graph and operator set, every length inside the file, and no data outside its folder.

    Raises DamagedWeights, and UnsafeWeights where a tensor's data would be read from another folder.
    """
    with Header.open(path, "ONNX") as header:
        seen = _walk(header, "model", header.size, 0)
        for field, name in ((IR_VERSION, "version"), (GRAPH, "graph"), (OPSET_IMPORT, "operator set")):
            header.require(field in seen, f"it has no {name}")


def _walk(header: Header, kind: str, end: int, depth: int) -> set[int]:
    """Looks at every tensor below this message; returns the fields it has."""
    header.require(depth <= DEEPEST, "messages in messages without end")
    seen = set()
    for field, wire, inner_end in _fields(header, end):
        seen.add(field)
        inner = _WAYS[kind].get(field) if wire == LENGTH else None
        if inner == "tensor":
            _check_tensor(header, inner_end)
        elif inner is not None:
            _walk(header, inner, inner_end, depth + 1)
    return seen


def _check_tensor(header: Header, end: int) -> None:
    for field, wire, inner_end in _fields(header, end):
        if field == EXTERNAL_DATA and wire == LENGTH:
            entry = {inner: _text(header, stop) for inner, kind, stop in _fields(header, inner_end) if kind == LENGTH}
            if entry.get(KEY) == "location":
                _check_location(header, entry.get(VALUE, ""))


def _check_location(header: Header, name: str) -> None:
    try:
        safe_name(name)
    except UnsafeWeights as error:
        raise UnsafeWeights(f"{header.path} would read its data from {short(name)}, outside its folder") from error
    data = header.path.parent / name
    header.require(data.is_file(), f"its data file {short(name)} is not beside it")


def _text(header: Header, end: int) -> str:
    length = end - header.file.tell()
    header.require(length <= LONGEST_TEXT, f"a text of {length} bytes")
    return header.read(length).decode("utf-8", errors="replace")


def _fields(header: Header, end: int) -> Iterator[tuple[int, int, int]]:
    """(field, wire type, where its value ends) from here to `end`; the file stands at the value's start."""
    while (at := header.file.tell()) < end:
        tag = _varint(header)
        field, wire = tag >> 3, tag & 7
        header.require(field > 0, f"field 0 at byte {at}")
        stop = _end(header, wire)
        header.require(stop <= end, f"field {field} at byte {at} runs past its end")
        yield field, wire, stop
        header.file.seek(stop)


def _end(header: Header, wire: int) -> int:
    if wire == VARINT:
        start = header.file.tell()
        _varint(header)
        stop = header.file.tell()
        header.file.seek(start)
        return stop
    if wire == LENGTH:
        length = _varint(header)
        return header.file.tell() + length
    header.require(wire in (FIXED64, FIXED32), f"wire type {wire}")
    return header.file.tell() + (8 if wire == FIXED64 else 4)


def _varint(header: Header) -> int:
    found = 0
    for number in range(LONGEST_VARINT):
        byte = header.read(1)[0]
        found |= (byte & 0x7F) << (7 * number)
        if byte < 0x80:
            return found
    raise header.damaged("a number of more than ten bytes")
