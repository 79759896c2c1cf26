"""Trains on one folder and writes a score and the decisions for each query of another, one JSON line per regime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from routing_regimes import FEW, Scores, before_call, elsewhere, few, in_domain, out_of_fold, with_few
from routing_sets import Floats, Table, load
from routing_views import View, view

from orchestrator.core import contract

REGIMES = ("id", "id-1500", "ood", "lodo")
PROMISES = ((0.01, 0.1), (0.02, 0.1), (0.05, 0.1), (0.05, 0.05), (0.1, 0.1))
"""(ε, δ) of the decisions written."""


def write(train: Path, test: Path, out: Path, cache: Path, say: Callable[[str], None]) -> int:
    """Writes `out` and returns how many lines it has. Of `test` it reads queries, weak outputs and local_preds only:
    outcomes and subjects are dropped as soon as the folder is read, where it has them at all."""
    tables, asked = load(train), {name: _stripped(table) for name, table in load(test).items()}
    views = {name: view(table, cache, say) for name, table in tables.items()}
    lines = 0
    with out.open("w", encoding="utf-8") as file:
        for table in asked.values():
            for row in _rows(table, view(table, cache, say), tables, views, say):
                file.write(json.dumps(row) + "\n")
                lines += 1
    return lines


def _stripped(table: Table) -> Table:
    return Table(
        name=table.name,
        ids=table.ids,
        queries=table.queries,
        in_tok=table.in_tok,
        split_keys=(),
        weak_answers=table.weak_answers,
        local_preds=table.local_preds,
    )


def _rows(
    table: Table, asked: View, tables: Mapping[str, Table], views: Mapping[str, View], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    for regime in REGIMES:
        if regime.startswith("id") and table.name not in tables:
            say(f"{table.name}: no labels of it in the training folder, so {regime} is left out")
            continue
        scores, certificates = _scored(table, asked, regime, tables, views)
        say(f"{table.name} {regime}: {len(table)} queries scored")
        for row, identity in enumerate(table.ids):
            yield {
                "id": identity,
                "dataset": table.name,
                "regime": regime,
                "score": float(scores.score[row]),
                "score_after_answer": _number(scores.after_answer, row),
                "score_after_agreement": _number(scores.after_agreement, row),
                "decisions": {
                    promise: "strong" if held is None else contract.decide(held, float(scores.score[row]))
                    for promise, held in certificates.items()
                },
            }


def _scored(
    table: Table, asked: View, regime: str, tables: Mapping[str, Table], views: Mapping[str, View]
) -> tuple[Scores, dict[str, contract.Certificate | None]]:
    name = table.name
    if not regime.startswith("id"):
        # No label of the set, so no promise about it can be certified: the strong model answers.
        unheld: dict[str, contract.Certificate | None] = {_key(*promise): None for promise in PROMISES}
        return elsewhere(name, regime, tables, views, asked, set()), unheld
    labelled, seen = tables[name], views[name]
    if regime == "id-1500":
        rows = few(labelled, FEW)
        return with_few(labelled, seen, asked), certificates(labelled.take(rows), seen.take(rows))
    return in_domain(labelled, seen, asked), certificates(labelled, seen)


def certificates(table: Table, view: View) -> dict[str, contract.Certificate | None]:
    """What the labels certify of a threshold on the score before the call, from out-of-fold scores of the same rows."""
    return certified(table, out_of_fold(table, view, before_call))


def certified(table: Table, scores: Floats) -> dict[str, contract.Certificate | None]:
    assert table.weak is not None
    assert table.strong is not None
    scale = max(1.0, float(np.max(table.strong)), float(np.max(table.weak)))  # MT-Bench grades from 1 to 10
    return {
        _key(epsilon, delta): contract.certify(
            scores, table.weak / scale, table.strong / scale, epsilon=epsilon, delta=delta
        )
        for epsilon, delta in PROMISES
    }


def _key(epsilon: float, delta: float) -> str:
    return f"{epsilon:g},{delta:g}"


def _number(scores: Floats | None, row: int) -> float | None:
    return None if scores is None else float(scores[row])
