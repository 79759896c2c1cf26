"""Tells by a file's first bytes what it is, and refuses what is not whole or runs code; it loads no model."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from registry.weights.errors import DamagedWeights, UnsafeWeights
from registry.weights.gguf_header import check_gguf
from registry.weights.headers import Header, short
from registry.weights.onnx_header import check_onnx
from registry.weights.safetensors_header import check_safetensors

# Names of formats that are Python pickles, or archives of them: reading one may run whatever its author wrote.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".mar")
CODE = (".py", ".so", ".dll", ".dylib", ".sh", ".exe")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
MOST_CT2_VERSION = 20  # CTranslate2 4.8 writes 6
LONGEST_CT2_NAME = 256


def check_folder(folder: Path, names: Iterable[str], *, allow_pickle: bool = False) -> None:
    """Looks at the header of every file of weights among `names`.

    Raises DamagedWeights where a header and its file disagree, UnsafeWeights where the weights are a pickle and no
    file in a safe format stands beside it (loaders take the safe one), or where a file is a program.
    """
    listed = list(names)
    safe = any(is_weights(name) and not _is_pickle(folder / name) for name in listed)
    for name in listed:
        path = folder / name
        if path.suffix in CODE and not allow_pickle:
            raise UnsafeWeights(f"{path} is a program, not weights; remove it")
        if not is_weights(name):
            continue
        if _is_pickle(path):
            if not safe and not allow_pickle:
                raise UnsafeWeights(refused_pickle(path))
            continue
        check_file(path)


def refused_pickle(what: object) -> str:
    return (
        f"{what} is a pickle, which can run code when it is read; use weights in safetensors, GGUF, ONNX or "
        "CTranslate2 format, or trust its author and say --allow-pickle"
    )


def is_weights(name: str) -> bool:
    """Whether this name is one of a file of weights, in a safe format or not."""
    return name.endswith((".safetensors", ".gguf", ".onnx", *PICKLES))


def check_file(path: Path) -> None:
    """The header of one file in a safe format. Raises DamagedWeights."""
    try:
        if path.suffix == ".safetensors":
            check_safetensors(path)
        elif path.suffix == ".gguf":
            check_gguf(path)
        elif path.suffix == ".onnx":
            check_onnx(path)
        elif path.name == "model.bin":
            check_ctranslate2(path)
    except OSError as error:
        raise DamagedWeights(f"{path} cannot be read: {error.strerror or error}") from error


def check_ctranslate2(path: Path) -> None:
    """model.bin: version, the model's kind, its revision, then variables by name, shape and bytes, all inside."""
    with Header.open(path, "CTranslate2") as header:
        version = header.number("<I")
        header.require(1 <= version <= MOST_CT2_VERSION, f"version {version}")
        kind = _ct2_text(header)
        header.require(kind.endswith("Spec"), f"kind {short(kind)}")
        header.number("<I")
        for _ in range(header.count("<I", each_bytes=9)):
            name = _ct2_text(header)
            dims = [header.number("<I") for _ in range(header.number("<B"))]
            header.number("<B")
            size = header.number("<I")
            header.require(len(dims) <= 8 and size <= header.rest, f"{short(name)} of {size} bytes")
            header.skip(size)


def _ct2_text(header: Header) -> str:
    length = header.number("<H")
    header.require(0 < length <= LONGEST_CT2_NAME, f"a name of {length} bytes")
    return header.read(length)[:-1].decode("utf-8", errors="replace")


def _is_pickle(path: Path) -> bool:
    """By its name, unless it is a model.bin whose first bytes are CTranslate2's small version number."""
    if path.suffix not in PICKLES:
        return False
    if path.name != "model.bin":
        return True
    with path.open("rb") as file:
        first = file.read(4)
    if first.startswith((_ZIP, _PICKLE)):
        return True
    return len(first) == 4 and struct.unpack("<I", first)[0] > 0xFFFF
