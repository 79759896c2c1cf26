"""Opens an encoder by its card and runs texts through it, padded little and stopped in time; it judges nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from registry.engines import Engine, lacking
from registry.schema import Card
from registry.weights import Placed, verify
from registry.weights.errors import WeightsError
from workers.encoder.architecture import Head, UnsupportedModel, read_architecture
from workers.encoder.pooling import Floats, Ids
from workers.encoder.tensors import find_tensors, has_tensors
from workers.encoder.tokens import NoTokenizer, Reader, Tokens, read_tokenizer
from workers.modality import Batch, Code, Machine, WorkerError

TOKENS_PER_FORWARD = 1024  # read together; larger batches leave the processor's cache and are slower, not faster
PADDED_PER_FORWARD = 2048  # rows × the longest: padding costs only attention, but its memory grows with the square
EXPORTED_TOKENS = 2048  # exported files hold all scores of a text at once: 8,192 tokens would take 4 GB
LIMIT_TOKENS = 512  # where neither card nor model says how much it reads


class Runs(Protocol):
    """What an engine does: int64 (rows, tokens) in, float32 (rows, width) out."""

    @property
    def width(self) -> int: ...

    def run(self, ids: Ids, mask: Ids, types: Ids) -> Floats: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A loaded encoder. `labels` are config.json's, in the order of the logits, and empty for vectors."""

    id: str
    reader: Reader
    engine: Runs
    labels: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers per text."""
        return self.engine.width


def open_model(card: Card, machine: Machine, head: Head) -> Model:
    """`head`: mean or cls for unit vectors, logits for a classifier.

    ONNX Runtime runs it where a graph can be written or was exported, else transformers. Raises WorkerError
    `model_not_found`, `model_load_failed` (damaged files) or `invalid_config` (cannot be run here).
    """
    found = machine.placed(card)
    if found is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    try:
        verify(card, found.folder, allow_pickle=machine.allow_pickle)
        return _opened(card, found, machine, head)
    except (WeightsError, NoTokenizer) as error:
        raise WorkerError(Code.MODEL_LOAD_FAILED, f"{card.id}: {error}") from error
    except UnsupportedModel as error:
        raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: {error}") from error


def forward(model: Model, inputs: Sequence[Tokens], batch: Batch) -> Floats:
    """(len(inputs), width), in their order; those of like length go together. Raises WorkerError `timeout`."""
    found = np.empty((len(inputs), model.width), dtype=np.float32)
    lengths = [len(each) for each in inputs]
    for group in _groups(lengths):
        batch.check_time()
        ids = np.zeros((len(group), lengths[group[-1]]), dtype=np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, index in enumerate(group):
            ids[row, : lengths[index]] = inputs[index].ids
            types[row, : lengths[index]] = inputs[index].types
            mask[row, : lengths[index]] = 1
        found[group] = model.engine.run(ids, mask, types)
    return found


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices sorted by length, cut so that a group stays within the limits; a text beyond them goes alone."""
    group: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        here = lengths[index]
        if group and (tokens + here > TOKENS_PER_FORWARD or (len(group) + 1) * here > PADDED_PER_FORWARD):
            yield group
            group, tokens = [], 0
        group.append(index)
        tokens += here
    if group:
        yield group


def _opened(card: Card, found: Placed, machine: Machine, head: Head) -> Model:
    config = json.loads((found.folder / "config.json").read_text(encoding="utf-8"))
    engine, limit = _engine(found, machine, head)
    limits = (limit, card.max_sequence_tokens or card.context_tokens or LIMIT_TOKENS)
    reader = Reader(read_tokenizer(found.folder), min(each for each in limits if each))
    if isinstance(words := config.get("vocab_size"), int) and reader.size > words:
        raise UnsupportedModel(f"its tokenizer has {reader.size} tokens, its config.json {words}: they do not belong")
    labels = _labels(config) if head == "logits" else ()
    if labels and len(labels) != engine.width:
        raise UnsupportedModel(f"config.json names {len(labels)} labels, the classifier gives {engine.width}")
    return Model(id=card.id, reader=reader, engine=engine, labels=labels)


def _engine(found: Placed, machine: Machine, head: Head) -> tuple[Runs, int | None]:
    """The engine, and the most tokens it takes, where that is known."""
    from workers.encoder.session import (  # noqa: PLC0415 - 20 MB that a worker of word lists does not need
        open_exported,
        open_written,
    )

    if exported := _exported(found):
        return open_exported(exported, head, machine), EXPORTED_TOKENS
    try:
        if not has_tensors(found.folder):
            raise UnsupportedModel("its weights are not safetensors")
        shape = read_architecture(found.folder)
        return open_written(shape, find_tensors(found.folder), head, machine), shape.tokens
    except UnsupportedModel as refusal:
        if sentence := lacking(Engine.TRANSFORMERS):
            raise UnsupportedModel(f"{refusal}. With torch it may run: {sentence}") from refusal
        return _second_try(found.folder, machine, head, refusal), None


def _second_try(folder: Path, machine: Machine, head: Head, refusal: UnsupportedModel) -> Runs:
    """transformers, which does not know every architecture either: then both say why."""
    try:
        return _framework(folder, machine, head)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise UnsupportedModel(f"{refusal}; transformers cannot either: {reason}") from error


def _framework(folder: Path, machine: Machine, head: Head) -> Runs:
    if sentence := lacking(Engine.TRANSFORMERS):
        raise UnsupportedModel(sentence)
    from workers.encoder.framework import open_framework  # noqa: PLC0415 - only where torch is what runs it

    return open_framework(folder, head, machine)


def _exported(found: Placed) -> Path | None:
    """The .onnx file of the variant that is here; where no variant says, of a folder without safetensors."""
    if (found.variant is None or found.variant.format != "onnx") and has_tensors(found.folder):
        return None
    named = found.variant.files or () if found.variant else ()
    files = [found.folder / name for name in named] or sorted(found.folder.rglob("*.onnx"))
    return next((file for file in files if file.suffix == ".onnx"), None)


def _labels(config: dict[str, object]) -> tuple[str, ...]:
    named = config.get("id2label")
    return tuple(str(named[key]) for key in sorted(named, key=int)) if isinstance(named, dict) else ()
