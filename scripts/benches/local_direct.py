"""One backend called directly in a process of its own: our modality, or sentence-transformers; it serves nobody.

`local_direct.py ours FOLDER THREADS` or `local_direct.py torch FOLDER THREADS`; the second runs where the project is
not installed. It says {"ready": true} and then answers one JSON object per line of stdin.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Embed = Callable[[list[str]], Any]
"""Texts → float32 array (n, dimensions)."""


def ours(folder: Path, threads: int) -> Embed:
    """The worker's own code on full batches: no queue, no process between. One item per text, as calls arrive."""
    import numpy as np  # noqa: PLC0415 - the other backend's process pays for none of this

    from registry.load import load  # noqa: PLC0415
    from registry.schema import Task  # noqa: PLC0415
    from workers.app import ROOMS  # noqa: PLC0415
    from workers.modality import Batch, Item, Machine  # noqa: PLC0415

    card = load().get("minilm-l6-builtin")
    modality = ROOMS["embeddings"].open()
    loaded = modality.load(card, Machine(models_dir=folder, threads=threads))

    def embed(texts: list[str]) -> Any:
        results = modality.infer(loaded, Batch(task=Task.EMBED, items=tuple(Item(texts=(text,)) for text in texts)))
        rows = [np.frombuffer(each["f32"], dtype="<f4") for each in results]  # type: ignore[index]
        return np.stack(rows)

    return embed


def torch(folder: Path, threads: int) -> Embed:
    """sentence-transformers on the same weights, fp32, one forward for all texts of a call."""
    import torch as library  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415
    from sentence_transformers import (  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415
        SentenceTransformer,
    )

    library.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")

    def embed(texts: list[str]) -> Any:
        return model.encode(texts, batch_size=len(texts), normalize_embeddings=True, show_progress_bar=False)

    return embed


def measure(embed: Embed, texts: list[str], batch: int, duration_s: float) -> dict[str, float]:
    """Batches of different texts, one after the other, until the time is over."""
    items, at = 0, 0
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - began_s < duration_s:
        embed([texts[(at + offset) % len(texts)] for offset in range(batch)])
        items, at = items + batch, at + batch
    return {"items": items, "wall_s": time.perf_counter() - began_s, "cpu_s": time.process_time() - cpu_s}


def main() -> int:
    backend, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    embed = {"ours": ours, "torch": torch}[backend](folder, threads)
    embed(["The first answer is part of the start."])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "vectors_of" in job:
            print(json.dumps([[float(each) for each in row] for row in embed(job["vectors_of"])]), flush=True)
        else:
            print(json.dumps(measure(embed, job["texts"], job["batch"], job["duration_s"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
