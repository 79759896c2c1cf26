"""MiniLM vectors of many texts, kept on disk by the texts' hash; knows no labels."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from registry.load import load
from registry.schema import Task
from workers import embeddings
from workers.runtime.running import Batch, Machine

MODEL = "minilm-l6-builtin"
STORE = f"{MODEL}-alone.npz"
CHUNK = 256  # texts that one process embeds in one go
SAVE_EVERY = 16  # chunks: what a killed run loses at most
Vectors = NDArray[np.float32]
Say = Callable[[str], None]

_encoders: dict[Path, embeddings.Encoder] = {}
"""One per process: a forked one loads its own, for a session of ONNX Runtime does not survive a fork."""


def encoder(folder: Path) -> embeddings.Encoder:
    """The card's model on one thread; its ONNX graph is kept under `folder`."""
    return embeddings.load(load().get(MODEL), Machine(models_dir=folder, threads=1))


class Shelf:
    """The vectors of all texts given, each text embedded once: those not yet in `folder` go through the model, in
    `jobs` processes of one thread each. Each goes through alone: a vector's last bits would else depend on the texts
    beside it, and through a split of a tree that turns so would figures in the third decimal. It costs no more.
    """

    def __init__(self, texts: Iterable[str], folder: Path, say: Say | None = None, jobs: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        store = folder / STORE
        self._known = _read(store)
        missing = {key: text for text in texts if (key := _key(text)) not in self._known}
        if missing:
            _fill(self._known, missing, store, folder, say or (lambda _: None), jobs)

    def of(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors (n, 384) in the order of `texts`; KeyError for a text that was not given before."""
        return np.stack([self._known[_key(text)] for text in texts])


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fill(known: dict[str, Vectors], missing: dict[str, str], store: Path, folder: Path, say: Say, jobs: int) -> None:
    encoder(folder)  # writes the graph, once, before the processes that read it
    started = time.monotonic()
    # Longest first: what is left to do is then never slower than the pace so far.
    order = sorted(missing, key=lambda key: (-len(missing[key]), key))
    chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]
    asked = [(folder, [missing[key] for key in chunk]) for chunk in chunks]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for done, vectors in enumerate(pool.imap(_embed, asked), 1):
            known.update(zip(chunks[done - 1], vectors, strict=True))
            if done % SAVE_EVERY == 0 or done == len(chunks):
                _write(store, known)
                count = min(done * CHUNK, len(order))
                say(f"embedded {count:,} of {len(order):,} texts in {time.monotonic() - started:.0f} s")


def _embed(asked: tuple[Path, list[str]]) -> Vectors:
    folder, texts = asked
    if folder not in _encoders:
        _encoders[folder] = encoder(folder)
    batch = Batch(task=Task.EMBED, items=())
    return np.concatenate([embeddings.embed(_encoders[folder], [text], batch)[0] for text in texts])


def _read(store: Path) -> dict[str, Vectors]:
    if not store.exists():
        return {}
    with np.load(store) as kept:
        return dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))


def _write(store: Path, known: dict[str, Vectors]) -> None:
    part = store.with_suffix(".part.npz")
    np.savez(part, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    part.replace(store)
