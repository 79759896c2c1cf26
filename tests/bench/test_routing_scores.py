"""`bench routing --train --test --scores` on made-up sets: what it writes, and that no test label moves it."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn", reason="the extra `train` is not installed")

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]
LOCAL = ("llama-3.1-8b-instruct", "mistral-7b-instruct-v0.2", "mixtral-8x7b-instruct")


def row(name: str, number: int, models: tuple[str, ...], dice: random.Random) -> Row:
    """Questions with "integral" are those that weak models miss."""
    hard = dice.random() < 0.5
    asked = f"Compute the integral number {number}." if hard else f"Name the capital of country {number}."
    quality = {model: float(not hard or model == models[-1]) for model in models}
    return {
        "id": f"{name}-{number}",
        "dataset": name,
        "subject": "calculus" if hard else "geography",
        "query": f"{asked}\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:",
        "split_key": f"{number}",
        "in_tok": 30,
        "models": {
            model: {"score": q, "pred": "A" if q else "BCD"[i % 3]} for i, (model, q) in enumerate(quality.items())
        },
    }


def write_set(folder: Path, name: str, rows: list[Row], outputs: bool) -> None:
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(each) + "\n" for each in rows)
    if outputs:
        with gzip.open(folder / f"{name}.weak_outputs.jsonl.gz", "wt") as file:
            for each in rows:
                letter = "A" if "capital" in each["query"] else "B"
                file.write(json.dumps({"id": each["id"], "output": f"We think. The answer is ({letter})."}) + "\n")


def sets(count: int, start: int) -> dict[str, list[Row]]:
    dice = random.Random(start)  # noqa: S311 - made-up data
    return {
        "mmlu": [row("mmlu", start + i, ("mixtral-8x7b-instruct", "gpt-4-1106-preview"), dice) for i in range(count)],
        "mmlu_pro": [row("mmlu_pro", start + i, (*LOCAL, "gemini-1.5-pro-002"), dice) for i in range(count)],
        "ze_gsm": [row("ze_gsm", start + i, ("gemma-2-2b-it", "gpt-4o-2024-08-06"), dice) for i in range(count)],
    }


def stripped(each: Row) -> Row:
    kept = {name: value for name, value in each.items() if name not in ("models", "subject", "split_key")}
    if each["dataset"] == "mmlu_pro":  # as a held-out folder names them: without "instruct"
        kept["local_preds"] = {
            model.replace("-instruct", ""): each["models"][model]["pred"] for model in LOCAL if model in each["models"]
        }
    return kept


def poisoned(each: Row) -> Row:
    """The stripped row with labels that are wrong: who reads them scores differently."""
    wrong = {model: {"score": 1 - outcome["score"], "pred": "D"} for model, outcome in each["models"].items()}
    return stripped(each) | {"models": wrong, "subject": "astrology"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Row]]:
    folder = tmp_path_factory.mktemp("routing")
    for name, rows in sets(160, 0).items():
        write_set(folder / "train", name, rows, outputs=name == "mmlu_pro")
    found = {}
    changes: dict[str, Callable[[Row], Row]] = {"stripped": stripped, "poisoned": poisoned}
    for words, change in changes.items():
        for name, rows in sets(40, 1000).items():
            write_set(folder / words, name, [change(each) for each in rows], outputs=name == "mmlu_pro")
        out = folder / f"{words}.jsonl"
        command = [sys.executable, str(ROOT / "scripts/benches/routing.py"), "--cache", str(folder / "cache")]
        command += ["--train", str(folder / "train"), "--test", str(folder / words), "--scores", str(out)]
        told = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        found[words] = [json.loads(line) for line in out.read_text().splitlines()]
    return found


def test_every_query_has_a_line_per_regime_with_the_keys_promised(scored: dict[str, list[Row]]) -> None:
    lines = scored["stripped"]
    assert len(lines) == 3 * 40 * 4
    assert {line["regime"] for line in lines} == {"id", "id-1500", "ood", "lodo"}
    assert set(lines[0]) == {
        *("id", "dataset", "regime", "score", "score_after_answer", "score_after_agreement", "decisions")
    }
    assert {"0.02,0.1", "0.05,0.1", "0.05,0.05"} <= set(lines[0]["decisions"])
    assert {choice for line in lines for choice in line["decisions"].values()} <= {"weak", "strong"}


def test_labels_of_the_test_rows_change_no_score(scored: dict[str, list[Row]]) -> None:
    """But for the last bit: rounding may turn a split of a tree where made-up columns are equally good."""
    clean, poisoned = ([line["score"] for line in scored[words]] for words in ("stripped", "poisoned"))
    assert clean == pytest.approx(poisoned, abs=0.03)


def test_answers_are_scored_where_they_are_given(scored: dict[str, list[Row]]) -> None:
    given = {
        (line["dataset"], name)
        for line in scored["stripped"]
        for name in ("score_after_answer", "score_after_agreement")
        if line["regime"] == "id" and line[name] is not None
    }
    assert given == {("mmlu_pro", "score_after_answer"), ("mmlu_pro", "score_after_agreement")}


def test_the_learned_score_sends_the_hard_questions_up(scored: dict[str, list[Row]]) -> None:
    hard = {each["id"]: "integral" in each["query"] for rows in sets(40, 1000).values() for each in rows}
    lines = [line for line in scored["stripped"] if line["regime"] == "id"]
    least = min(line["score"] for line in lines if hard[line["id"]])
    assert least > max(line["score"] for line in lines if not hard[line["id"]])
