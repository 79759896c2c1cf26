"""Sentence embeddings and reranking by their similarity, on ONNX Runtime without torch; stores nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from registry.schema import Card, Prefixes, Task
from registry.weights import local_folder, packaged_folder, verify
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

BUILDER_VERSION = 1  # part of a built graph's file name: raise it when the graph changes
TOKENS_PER_FORWARD = 1024  # padded; larger batches leave the processor's cache and are slower, not faster
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """A loaded model: texts in, unit vectors of `dimensions` out."""

    tokenizer: Tokenizer
    session: onnxruntime.InferenceSession
    dimensions: int
    prefixes: Prefixes


def load(card: Card, machine: Machine) -> Encoder:
    """The encoder of a BERT model; its ONNX graph is written at first use and kept in `models_dir`.

    Raises WorkerError `invalid_config` where the card's facts and the weights disagree or the
    architecture cannot be run here.
    """
    folder = _folder(card, machine.models_dir)
    graph = _cached_graph(card, folder, machine.models_dir / "onnx")
    session = onnxruntime.InferenceSession(
        str(graph), _session_options(machine.threads), providers=["CPUExecutionProvider"]
    )
    dimensions = session.get_outputs()[0].shape[1]
    if card.dimensions != dimensions:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id}: its card says {card.dimensions} dimensions, its weights have {dimensions}",
        )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(card.max_sequence_tokens or card.context_tokens or 512)
    return Encoder(tokenizer=tokenizer, session=session, dimensions=dimensions, prefixes=card.prefixes)


def infer(loaded: Encoder, batch: Batch) -> list[Result | WorkerError]:
    """All texts of all items go through the model together, shortest first.

    embed: {"f32": little-endian float32 bytes, "shape": [n, dimensions], "tokens": n}. Rows are the
    item's texts as documents; a `query`, where given, is the last row.
    rerank: {"results": [{"index", "score"}, …], "tokens": n}, best first. The score maps the cosine c of
    query and document from [−1, 1] to [0, 1] as (1 + c) / 2; it orders, it is not a probability.
    """
    texts = [_texts(item, batch.task, loaded.prefixes) for item in batch.items]
    flat = [text for each in texts if not isinstance(each, WorkerError) for text in each]
    vectors, tokens = embed(loaded, flat, batch)
    results: list[Result | WorkerError] = []
    start = 0
    for item, each in zip(batch.items, texts, strict=True):
        if isinstance(each, WorkerError):
            results.append(each)
            continue
        rows = slice(start, start + len(each))
        start += len(each)
        results.append(_result(item, batch.task, vectors[rows], sum(tokens[rows])))
    return results


def embed(encoder: Encoder, texts: Sequence[str], batch: Batch) -> tuple[Vectors, list[int]]:
    """Unit vectors (n, dimensions) in the order of `texts`, and the tokens the model read of each."""
    encodings = encoder.tokenizer.encode_batch(list(texts))
    lengths = [len(encoding.ids) for encoding in encodings]
    vectors = np.empty((len(texts), encoder.dimensions), dtype=np.float32)
    for group in _groups(lengths):
        batch.check_time()
        width = lengths[group[-1]]
        ids = np.zeros((len(group), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, index in enumerate(group):
            ids[row, : lengths[index]] = encodings[index].ids
            mask[row, : lengths[index]] = 1
        vectors[group] = encoder.session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})[0]
    return vectors, lengths


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices sorted by length, cut so that rows × longest stays within TOKENS_PER_FORWARD."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[index] > TOKENS_PER_FORWARD:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _texts(item: Item, task: Task, prefixes: Prefixes) -> list[str] | WorkerError:
    if not item.texts and (task is Task.RERANK or item.query is None):
        return WorkerError(Code.INVALID_INPUT, f"{task} needs at least one text; `texts` is empty")
    if task is Task.RERANK and item.query is None:
        return WorkerError(Code.INVALID_INPUT, "rerank needs a `query` to compare the texts with; none was given")
    documents = [prefixes.document + text for text in item.texts]
    return documents if item.query is None else [*documents, prefixes.query + item.query]


def _result(item: Item, task: Task, vectors: Vectors, tokens: int) -> Result:
    if task is Task.RERANK:
        return {"results": _ranked(vectors[:-1] @ vectors[-1], item.options.get("top_n")), "tokens": tokens}
    return {
        "f32": vectors.astype("<f4", copy=False).tobytes(),
        "shape": list(vectors.shape),
        "tokens": tokens,
    }


def _ranked(cosines: Vectors, top_n: int | None) -> list[dict[str, Any]]:
    scores = np.clip((1.0 + cosines) / 2.0, 0.0, 1.0)
    order = np.argsort(-scores, kind="stable")[:top_n]
    return [{"index": int(index), "score": float(scores[index])} for index in order]


def _folder(card: Card, models_dir: Path) -> Path:
    folder = packaged_folder(card) or local_folder(card, models_dir)
    if folder is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    return folder


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for ever; no slower without
    return options


def _cached_graph(card: Card, folder: Path, cache: Path) -> Path:
    """The model's .onnx file, kept under the digest of its weights. Raises DamagedWeights."""
    verify(card, folder)
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache / f"bert-{digest[:32]}-{card.pooling}-v{BUILDER_VERSION}.onnx"
    if not target.exists():
        _write_atomically(_built_graph(card, folder), target)
    return target


def _built_graph(card: Card, folder: Path) -> bytes:
    from workers.bert_onnx import UnsupportedGraph, build_graph  # noqa: PLC0415 - 30 MB needed once per installation

    if card.pooling is None:
        raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: its card does not say how to pool (mean or cls)")
    try:
        return cast(bytes, build_graph(folder, card.pooling).SerializeToString())
    except UnsupportedGraph as error:
        raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: {error}") from error


def _write_atomically(data: bytes, target: Path) -> None:
    """Two workers may build at once: each writes its own file, the last rename wins, both are equal."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.stem, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
