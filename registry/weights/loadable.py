"""What an engine needs beside the weights, looked for before files that were brought by hand are taken in; it loads
nothing."""

from __future__ import annotations

import json
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from registry.schema import Card, Engine, Variant
from registry.weights.errors import DamagedWeights, MissingWeights, UnsafeWeights
from registry.weights.folders import METADATA, names_in

Choice = tuple[tuple[str, ...], ...]
"""Sets of files; one whole set is enough."""

_CONFIG: Choice = (("config.json",),)
_TOKENIZER: Choice = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
# transformers makes a tokenizer of SentencePiece's files too.
_ANY_TOKENIZER: Choice = (*_TOKENIZER, ("tokenizer.model",), ("sentencepiece.bpe.model",), ("spiece.model",))
_PREPARATION: Choice = (("preprocessor_config.json",),)
_ANY_PREPARATION: Choice = (*_PREPARATION, ("processor_config.json",))
_PICTURES = ("vision", "document")  # the queues whose models see


def require_plain(folder: Path) -> None:
    """Raises UnsafeWeights where something in this folder is neither a file nor a link to one: to open a FIFO waits for
    ever. A link that leads nowhere is left to who needs the file."""
    for name in (*names_in(folder), METADATA):
        try:
            mode = (folder / name).stat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise UnsafeWeights(f"{folder / name} is {_kind(mode)} and no file; take it out of the folder")


def require_loadable(card: Card, variant: Variant, folder: Path, names: Collection[str]) -> None:
    """Of the files `names` of this folder: all can be read, every JSON file is JSON, and what the variant's engine
    needs beside the weights is among them. A card that names its files says so itself, and GGUF holds everything.

    Raises MissingWeights, DamagedWeights.
    """
    for name in names:
        if not (folder / name).is_file():
            raise MissingWeights(f"{folder / name} is a link that leads nowhere; put the file itself there")
        if name.endswith(".json"):
            _require_json(folder / name)
    for choice in _needs(card, variant) if variant.files is None else ():
        if not any(set(files) <= set(names) for files in choice):
            known = ", or ".join(" with ".join(files) for files in choice)
            raise MissingWeights(f"{folder} lacks {known}: {card.id} cannot be loaded without; add the hub's own")


def _needs(card: Card, variant: Variant) -> Iterator[Choice]:
    engine = variant.runs_on
    if engine is Engine.FASTER_WHISPER:
        yield from (_CONFIG, (("tokenizer.json",),), (("vocabulary.txt",), ("vocabulary.json",)))
    if engine not in (Engine.ONNXRUNTIME, Engine.TRANSFORMERS):
        return
    light = engine is Engine.ONNXRUNTIME
    yield _CONFIG
    yield _TOKENIZER if light else _ANY_TOKENIZER
    if card.queue in _PICTURES:
        yield _PREPARATION if light else _ANY_PREPARATION


def _require_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedWeights(f"{path} is no JSON ({error}); bring the right file") from error
    except OSError as error:
        raise DamagedWeights(f"{path} cannot be read: {error.strerror or error}") from error


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "a folder")
