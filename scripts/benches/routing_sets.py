"""Reads the routing sets: queries, outcomes of real models, weak answers. Decides nothing, trains nothing.

`Table.queries` holds all that a router may see of a query; everything else there is about labels and is absent
where the folder has been stripped of `models` and `subject`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

PAIRS = {
    "mmlu": ("mixtral-8x7b-instruct", "gpt-4-1106-preview"),
    "gsm8k": ("mixtral-8x7b-instruct", "gpt-4-1106-preview"),
    "mtbench": ("mixtral-8x7b-instruct", "gpt-4-1106-preview"),
    "mmlu_pro": ("llama-3.1-8b-instruct", "gemini-1.5-pro-002"),
    "ze_gsm": ("gemma-2-2b-it", "gpt-4o-2024-08-06"),
    "ze_math_l5": ("qwen2.5-7b-instruct", "o1-mini-2024-09-12"),
    "ze_crux": ("qwen2.5-7b-instruct", "gpt-4o-2024-08-06"),
    "llmrouter_mix": ("mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"),
    "routerarena": ("claude-3-haiku-20240307", "gemini-2.0-flash-001"),
}
"""Weak and strong model of each set, as in the README's table."""

LOCAL = {
    "mmlu_pro": ("llama-3.1-8b-instruct", "mistral-7b-instruct-v0.2", "mixtral-8x7b-instruct"),
    "ze_gsm": ("gemma-2-2b-it", "phi-3.5-mini-instruct", "qwen2-7b-instruct"),
    "ze_math_l5": ("qwen2.5-7b-instruct", "phi-3.5-mini-instruct", "qwen2.5-3b-instruct", "llama-3.1-8b-instruct"),
    "ze_crux": ("qwen2.5-7b-instruct", "phi-3.5-mini-instruct", "qwen2.5-3b-instruct", "llama-3.1-8b-instruct"),
}
"""Models whose final answers the third score may read: the weak one first, then others that run locally."""

MIXTURES = ("llmrouter_mix", "routerarena")
FAMILIES = (("mmlu", "mmlu_pro"), ("gsm8k", "ze_gsm"))
MEAN_OF = ("mmlu", "gsm8k:official", "mmlu_pro", "ze_gsm", "ze_math_l5", "ze_crux", "llmrouter_mix", "routerarena")
"""The eight figures of the README's mean: GSM8K counts with its official labels there."""


class UnreadableSet(Exception):
    """A folder or a row is not in the sets' format; the message says which and what is expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One set. Label arrays are None where `models` is absent; `weak_answers` and `local_preds` where not given."""

    name: str
    ids: tuple[str, ...]
    queries: tuple[str, ...]
    in_tok: Floats
    split_keys: tuple[str, ...]
    weak: Floats | None = None
    strong: Floats | None = None
    official: tuple[Floats, Floats] | None = None
    """Weak and strong scores before GSM8K's grader was repaired; equal to `weak`, `strong` elsewhere."""
    models: dict[str, Floats] | None = None
    """Quality of every model's answer; NaN where it was not asked."""
    subjects: tuple[str, ...] | None = None
    usd: tuple[Floats, Floats] | None = None
    weak_answers: tuple[str, ...] | None = None
    local_preds: dict[str, tuple[str, ...]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gain(self) -> Floats:
        if self.weak is None or self.strong is None:
            raise UnreadableSet(f"{self.name} has no outcomes (`models` is absent): it can be scored, not trained on")
        return self.strong - self.weak

    def take(self, rows: Indices) -> Table:
        """The rows named, in that order."""

        def of(values: Sequence[str] | None) -> Any:
            return None if values is None else tuple(values[row] for row in rows)

        def pair(values: tuple[Floats, Floats] | None) -> Any:
            return None if values is None else (values[0][rows], values[1][rows])

        return Table(
            name=self.name,
            ids=of(self.ids),
            queries=of(self.queries),
            in_tok=self.in_tok[rows],
            split_keys=of(self.split_keys),
            weak=None if self.weak is None else self.weak[rows],
            strong=None if self.strong is None else self.strong[rows],
            official=pair(self.official),
            models=None if self.models is None else {name: each[rows] for name, each in self.models.items()},
            subjects=of(self.subjects),
            usd=pair(self.usd),
            weak_answers=of(self.weak_answers),
            local_preds=None if self.local_preds is None else {k: of(v) for k, v in self.local_preds.items()},
        )


def related(name: str) -> set[str]:
    """The sets an out-of-domain router of `name` must not have seen: itself, its siblings, and the mixtures."""
    family = next((set(family) for family in FAMILIES if name in family), {name})
    return family | set(MIXTURES)


def load(folder: Path) -> dict[str, Table]:
    """Every set of `folder` that is in PAIRS, by name. Raises UnreadableSet."""
    files = {name: folder / f"{name}.jsonl.gz" for name in PAIRS if (folder / f"{name}.jsonl.gz").exists()}
    if not files:
        raise UnreadableSet(
            f"{folder} holds none of the routing sets (mmlu.jsonl.gz, gsm8k.jsonl.gz, …). "
            "They come from openly licensed releases: lm-sys/RouteLLM, TIGER-AI-Lab/MMLU-Pro, WildEval/ZeroEval, "
            "ulab-uiuc/LLMRouter and RouteWorks/RouterArena; name their folder with --data DIR."
        )
    return {name: _table(name, _rows(file), _answers(folder, name)) for name, file in files.items()}


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, json.JSONDecodeError) as error:
        raise UnreadableSet(f"{file} is not gzip with one JSON object per line: {error}") from error


def _answers(folder: Path, name: str) -> dict[str, str]:
    file = folder / f"{name}.weak_outputs.jsonl.gz"
    return {row["id"]: row["output"] or "" for row in _rows(file)} if file.exists() else {}


def _table(name: str, rows: list[dict[str, Any]], answers: dict[str, str]) -> Table:
    try:
        labelled = all("models" in row for row in rows)
        ids = tuple(row["id"] for row in rows)
        return Table(
            name=name,
            ids=ids,
            queries=tuple(row["query"] for row in rows),
            in_tok=np.array([row["in_tok"] for row in rows], dtype=np.float64),
            split_keys=tuple(row.get("split_key", row["id"]) for row in rows),
            subjects=tuple(row["subject"] for row in rows) if all("subject" in row for row in rows) else None,
            weak_answers=tuple(answers[each] for each in ids) if all(each in answers for each in ids) else None,
            local_preds=_local_preds(name, rows),
            **(_labels(name, rows) if labelled else {}),
        )
    except KeyError as error:
        raise UnreadableSet(f"a row of {name} has no {error}: see the sets' README for their format") from error


def _labels(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    weak, strong = PAIRS[name]

    def quality(model: str, field: str) -> Floats:
        outcomes = (row["models"].get(model, {}) for row in rows)
        return np.array([each.get(field, each.get("score", np.nan)) for each in outcomes], dtype=np.float64)

    return {
        "weak": quality(weak, "score_fixed"),
        "strong": quality(strong, "score_fixed"),
        "official": (quality(weak, "score"), quality(strong, "score")),
        "models": {model: quality(model, "score_fixed") for model in _names(rows)},
        "usd": (_usd(rows, weak, 0.0, 0.0), _usd(rows, strong, 10.0, 30.0)),
    }


def _names(rows: Iterable[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(model for row in rows for model in row["models"]))


def _usd(rows: list[dict[str, Any]], model: str, per_million_in: float, per_million_out: float) -> Floats:
    """Dollars of each call; where the row has none, by these prices, with 264 output tokens if unknown."""
    calls = [(row, row["models"].get(model, {})) for row in rows]
    return np.array(
        [
            call.get("usd")
            if call.get("usd") is not None
            else (row["in_tok"] * per_million_in + call.get("out_tok", 264) * per_million_out) / 1e6
            for row, call in calls
        ],
        dtype=np.float64,
    )


def _local_preds(name: str, rows: list[dict[str, Any]]) -> dict[str, tuple[str, ...]] | None:
    """Final answers of LOCAL's models: from `local_preds` where the rows have it, else from `models`."""
    found = {model: tuple(_pred(row, model) for row in rows) for model in LOCAL.get(name, ())}
    if not found or any(pred is None for preds in found.values() for pred in preds):
        return None
    return {model: tuple(str(pred) for pred in preds) for model, preds in found.items()}


def _pred(row: dict[str, Any], model: str) -> str | None:
    """ "" where the model gave no final answer; None where nothing is known of the model."""
    if "local_preds" in row:
        for name, pred in row["local_preds"].items():
            if _same_model(name, model):
                return "" if pred is None else str(pred)
        return None
    outcome = row.get("models", {}).get(model)
    return None if outcome is None else str(outcome.get("pred") or "")


def _same_model(given: str, model: str) -> bool:
    """`mistral-7b-v0.2` names mistral-7b-instruct-v0.2: every part of the shorter name is in the longer."""
    short, long = sorted((set(given.lower().split("-")), set(model.lower().split("-"))), key=len)
    return short <= long
