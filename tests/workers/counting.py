"""A modality for tests that runs for real: it measures texts, takes the memory it is told to, and fails where a text
or a model's name tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from registry.schema import Card
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

MIB = 1 << 20
FAILURES = {
    "explode": RuntimeError("the library blew up"),
    "exit": SystemExit(3),
    "recurse": RecursionError("maximum recursion depth exceeded"),
    "interrupt": KeyboardInterrupt(),
    "long": ValueError("x" * 100_000),
}


@dataclass
class Ledger:
    """What happened, for the test to read."""

    loads: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    concurrent: int = 0
    most_concurrent: int = 0
    failing_loads: int = 0  # loads that find no memory before one succeeds
    most_items: int = 1 << 30  # a larger batch finds no memory
    lock: threading.Lock = field(default_factory=threading.Lock)
    go_on: threading.Event = field(default_factory=threading.Event)  # what hangs waits for it


seen = Ledger()


@dataclass
class Loaded:
    """`closed` is heard by the ledger."""

    card: str
    device: str
    weights: np.ndarray | None

    def close(self) -> None:
        seen.closed.append(self.card)


def load(card: Card, machine: Machine) -> Loaded:
    """A card named `…-64` takes 64 MiB; `mapped` maps a file; `damaged` cannot be read; `cudaless` loads on the CPU
    alone."""
    seen.loads.append(card.id)
    seen.devices.append(machine.device)
    time.sleep(0.02)
    if card.id == "damaged":
        raise OSError("unexpected end of file")
    if card.id == "exits":
        raise SystemExit("a library that ends the process")
    if card.id == "cudaless" and machine.device == "cuda":
        raise RuntimeError("Torch not compiled with CUDA enabled")
    if seen.failing_loads:
        seen.failing_loads -= 1
        raise MemoryError
    if card.id == "mapped":
        weights = np.memmap(machine.models_dir / "mapped.bin", dtype=np.uint8, mode="r")
        return Loaded(card=card.id, device=machine.device, weights=weights)
    size = card.id.rpartition("-")[2]
    weights = np.ones(int(size) * MIB, dtype=np.uint8) if size.isdigit() else None
    return Loaded(card=card.id, device=machine.device, weights=weights)


def infer(loaded: Loaded, batch: Batch) -> Sequence[Result | WorkerError]:
    with seen.lock:
        seen.concurrent += 1
        seen.most_concurrent = max(seen.most_concurrent, seen.concurrent)
    try:
        seen.batches.append(len(batch.items))
        batch.check_time()
        time.sleep(0.005)
        if len(batch.items) > seen.most_items:
            raise MemoryError
        found = [_measure(loaded, item, number, batch) for number, item in enumerate(batch.items)]
        return found[:-1] if any("lose one" in item.texts for item in batch.items) and len(found) > 1 else found
    finally:
        with seen.lock:
            seen.concurrent -= 1


def safer(item: Item) -> Item | None:
    return replace(item, texts=("calm",)) if "wild" in item.texts or "say and fail" in item.texts else None


def _measure(loaded: Loaded, item: Item, number: int, batch: Batch) -> Result | WorkerError:
    text = item.texts[0]
    if loaded.card == "mapped" and loaded.weights is not None:
        loaded.weights.max()
    if text in FAILURES:
        raise FAILURES[text]
    if text == "hang":
        seen.go_on.wait(120)
    if text == "refuse":
        return WorkerError(Code.INVALID_INPUT, "refused as asked")
    if text == "wild":
        return WorkerError(Code.INFERENCE_FAILED, "the temperature was too high")
    if text == "say and fail":
        batch.say(number, "once upon")
        return WorkerError(Code.INFERENCE_FAILED, "the temperature was too high")
    if text == "on the GPU fail" and loaded.device == "cuda":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if text.startswith("take "):
        np.ones(int(text.split()[1]) * MIB, dtype=np.uint8).sum()
    if text == "say":
        batch.say(number, "word ")
    tokens = {"tokens": 4} if text == "four" else {}
    return {"results": [len(each) for each in item.texts], **tokens}
