"""`scripts/train-quality` on made-up sets: it learns what parts their answers, writes it, and writes the same again."""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.quality.judge import Evidence, load
from orchestrator.core.types import Reply
from registry.schema import Usage
from tests.samples import request
from tests.tiny import __main__ as tiny

pytest.importorskip("scipy", reason="the extra `train` is not installed")

ROOT = Path(__file__).resolve().parents[2]
ROWS = 40
CROSS_ENCODER = "ms-marco-minilm-l12-v2"
SETS = {
    "gsm8k": ("mixtral-8x7b-instruct",),
    "ze_gsm": ("gemma-2-2b-it", "phi-3.5-mini-instruct", "qwen2-7b-instruct"),
    "ze_crux": ("qwen2.5-7b-instruct", "phi-3.5-mini-instruct", "qwen2.5-3b-instruct", "llama-3.1-8b-instruct"),
    "ze_math_l5": ("qwen2.5-7b-instruct", "phi-3.5-mini-instruct", "qwen2.5-3b-instruct", "llama-3.1-8b-instruct"),
    "mmlu_pro": ("llama-3.1-8b-instruct", "mistral-7b-instruct-v0.2", "mixtral-8x7b-instruct"),
}


def ask(number: int) -> str:
    return f"How many apples are {number} and {number + 1} apples?"


def answer(number: int, right: bool) -> str:
    """Answers that are wrong ramble."""
    if right:
        return f"Together they are {2 * number + 1}. The answer is {2 * number + 1}."
    doubt = "perhaps, or maybe they might be somewhat more, as one would guess from the basket beside the door, " * 3
    return f"They are {doubt} so it seems. The answer is {2 * number + 3}."


def write_sets(folder: Path) -> None:
    dice = random.Random(7)  # noqa: S311 - made-up rows, the same each time
    for name, models in SETS.items():
        rows: list[dict[str, Any]] = []
        outputs = []
        for number in range(1, ROWS + 1):
            right = dice.random() < 0.5
            outcomes = {model: {"score": 1.0, "pred": str(2 * number + 1)} for model in models[1:]}
            outcomes["gpt-4-1106-preview"] = outcomes["gpt-4o-2024-08-06"] = {"score": 1.0, "pred": str(2 * number + 1)}
            outcomes["o1-mini-2024-09-12"] = outcomes["gemini-1.5-pro-002"] = {
                "score": 1.0,
                "pred": str(2 * number + 1),
            }
            outcomes[models[0]] = {"score": float(right), "pred": str(2 * number + (1 if right else 3))}
            rows.append(
                {
                    "id": f"{name}-{number}",
                    "dataset": name,
                    "subject": "sums",
                    "query": ask(number),
                    "split_key": f"{name}-{number}",
                    "in_tok": 12,
                    "models": outcomes,
                }
            )
            outputs.append({"id": f"{name}-{number}", "model": models[0], "output": answer(number, right)})
        for file, lines in ((f"{name}.jsonl.gz", rows), (f"{name}.weak_outputs.jsonl.gz", outputs)):
            with gzip.open(folder / file, "wt", encoding="utf-8") as out:
                out.writelines(json.dumps(line) + "\n" for line in lines)


def train(data: Path, cache: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "scripts" / "benches" / "train_quality.py"),
            *("--data", str(data), "--cache", str(cache), "--out", str(out)),
            *more,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_it_learns_what_parts_the_answers_and_writes_the_same_again(tmp_path: Path) -> None:
    write_sets(tmp_path)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    done = train(tmp_path, tmp_path / "cache", first)
    assert done.returncode == 0, done.stderr
    assert train(tmp_path, tmp_path / "cache", second).returncode == 0
    assert first.read_bytes() == second.read_bytes()

    figures = json.loads(first.read_text())["datasheet"]["out_of_fold"]
    assert figures["folds"]["text"]["auroc_mean"] > 0.95
    assert figures["sets"]["text"]["auroc_mean"] > 0.95
    assert figures["folds"]["text"]["n"] == 5 * ROWS
    assert figures["folds"]["agreement"]["n"] == 4 * ROWS

    judge, asked = load(first.read_bytes()), request(ask(50))
    right, wrong = (Reply(usage=Usage(), text=answer(50, kind)) for kind in (True, False))
    assert judge(asked, right).value > 0.6
    assert judge(asked, wrong).value < 0.5
    others = Evidence(earlier=(Reply(usage=Usage(), text="It is 101."),))
    assert judge(asked, right, others).value > judge(asked, right).value
    assert judge.accept_right > 0.9
    assert judge.accept_wrong < 0.1


def test_a_cross_encoder_that_is_there_is_measured_too(tmp_path: Path) -> None:
    """A tiny one of random weights: what it says is noise, and its curve is there and read."""
    write_sets(tmp_path)
    models = tmp_path / "models"
    (models / CROSS_ENCODER).mkdir(parents=True)
    tiny.models()[CROSS_ENCODER](models / CROSS_ENCODER)
    done = train(tmp_path, tmp_path / "cache", tmp_path / "out.json", "--models", str(models))
    assert done.returncode == 0, done.stderr
    assert f"gsm8k: {ROWS} asks, each with its reply and another's" in done.stderr
    data = (tmp_path / "out.json").read_bytes()
    slope, intercept = json.loads(data)["relevance"]["others"][CROSS_ENCODER]
    weighing = load(data).weighing
    assert weighing is not None
    assert weighing.matches(0.0, CROSS_ENCODER) == pytest.approx(1 / (1 + math.exp(-intercept)))
    assert slope >= 0


def test_a_folder_without_answers_is_named(tmp_path: Path) -> None:
    done = train(tmp_path, tmp_path / "cache", tmp_path / "out.json")
    assert done.returncode == 2
    assert "holds none of the routing sets" in done.stderr
    assert not (tmp_path / "out.json").exists()
