"""A modality for tests that runs for real: it measures texts, and fails where a text tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from registry.schema import Card
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError


@dataclass
class Ledger:
    """What happened, for the test to read."""

    loads: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    concurrent: int = 0
    most_concurrent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


seen = Ledger()


def load(card: Card, machine: Machine) -> bytearray:
    seen.loads.append(card.id)
    time.sleep(0.02)
    if card.id == "damaged":
        raise OSError("unexpected end of file")
    size = 64 << 20 if card.id == "huge" else 1024
    return bytearray(b"\1" * size)


def infer(loaded: bytearray, batch: Batch) -> Sequence[Result | WorkerError]:
    with seen.lock:
        seen.concurrent += 1
        seen.most_concurrent = max(seen.most_concurrent, seen.concurrent)
    try:
        seen.batches.append(len(batch.items))
        batch.check_time()
        time.sleep(0.005)
        found = [_measure(item) for item in batch.items]
        return found[:-1] if any("lose one" in item.texts for item in batch.items) and len(found) > 1 else found
    finally:
        with seen.lock:
            seen.concurrent -= 1


def _measure(item: Item) -> Result | WorkerError:
    if "explode" in item.texts:
        raise RuntimeError("the library blew up")
    if "refuse" in item.texts:
        return WorkerError(Code.INVALID_INPUT, "refused as asked")
    return {"results": [len(text) for text in item.texts]}
