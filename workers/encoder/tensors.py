"""Says where each tensor lies in a model's safetensors files; it reads their headers and no numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.weights.errors import DamagedWeights
from registry.weights.formats import check_file

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}  # of models that were once converted from TensorFlow
_BODY = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """Where a tensor lies: `offset` and `length` in bytes. `kind` is the format's word: F32, F16, BF16, …"""

    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int


Tensors = Mapping[str, Tensor]


def has_tensors(folder: Path) -> bool:
    """Whether the folder's weights are safetensors."""
    return any(folder.glob("*.safetensors"))


def find_tensors(folder: Path) -> Tensors:
    """Every tensor of the folder by its name, without the name of the model class that stands before it in some
    files (`bert.`, `roberta.`, …). Raises DamagedWeights."""
    found: dict[str, Tensor] = {}
    for file in _files(folder):
        check_file(file)
        found |= dict(_tensors(file.resolve()))  # its true place: the session that reads it follows no links
    prefix = next((name.removesuffix(_BODY) for name in found if name.endswith(_BODY)), "")
    return {_modern(name.removeprefix(prefix)): tensor for name, tensor in found.items()}


def _files(folder: Path) -> list[Path]:
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    if not (folder / INDEX).is_file():
        return sorted(folder.glob("*.safetensors"))
    names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    if strange := [name for name in names if Path(name).name != name or not (folder / name).is_file()]:
        raise DamagedWeights(f"{folder / INDEX} names {strange[0]!r}, which is not a file beside it; download it again")
    return [folder / name for name in names]


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header: dict[str, Any] = json.loads(content.read(length))
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            at, shape = 8 + length + first, tuple(entry["shape"])
            yield name, Tensor(file=file, kind=entry["dtype"], shape=shape, offset=at, length=last - first)


def _modern(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
