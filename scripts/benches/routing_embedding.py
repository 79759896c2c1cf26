"""MiniLM vectors of many texts, kept on disk by the texts' hash; knows no labels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.load import load
from registry.schema import Task
from workers import embeddings
from workers.runtime import Batch, Machine

MODEL = "minilm-l6-builtin"
SAVE_EVERY = 1024  # texts: what a killed run loses at most
Vectors = NDArray[np.float32]


def encoder(folder: Path) -> embeddings.Encoder:
    """The card's model on one thread; its ONNX graph is kept under `folder`."""
    return embeddings.load(load().get(MODEL), Machine(models_dir=folder, threads=1))


def embed(texts: Sequence[str], folder: Path, say: Callable[[str], None] | None = None) -> Vectors:
    """Unit vectors (n, 384) in the order of `texts`. Only texts not yet in `folder` go through the model."""
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / f"{MODEL}.npz"
    known = _read(store)
    keys = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    if missing:
        _fill(known, missing, store, folder, say or (lambda _: None))
    return np.stack([known[key] for key in keys])


def _fill(
    known: dict[str, Vectors], missing: dict[str, str], store: Path, folder: Path, say: Callable[[str], None]
) -> None:
    model, started = encoder(folder), time.monotonic()
    # Longest first: what is left to do is then never slower than the pace so far.
    order = sorted(missing, key=lambda key: -len(missing[key]))
    for start in range(0, len(order), SAVE_EVERY):
        part = order[start : start + SAVE_EVERY]
        vectors, _ = embeddings.embed(model, [missing[key] for key in part], Batch(task=Task.EMBED, items=()))
        known.update(zip(part, vectors, strict=True))
        _write(store, known)
        say(f"embedded {start + len(part)}/{len(order)} texts in {time.monotonic() - started:.0f} s")


def _read(store: Path) -> dict[str, Vectors]:
    if not store.exists():
        return {}
    with np.load(store) as kept:
        return dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))


def _write(store: Path, known: dict[str, Vectors]) -> None:
    part = store.with_suffix(".part.npz")
    np.savez(part, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    part.replace(store)
