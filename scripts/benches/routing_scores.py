"""Trains on one folder and writes a score and the decisions for each query of another, one JSON line per regime.

The score is that of a router fitted on all labels of the set. The decisions are those of two others: the labels are
cut in halves (no split key in both), a router is fitted on each, and each is certified on the half it has not seen, at
δ / 2. A hash of the query says which of the two decides it. So the promise is exact: each certificate's rows and the
queries decided are draws of one task class, scored by one function that was fixed before any of them was looked at;
both hold with probability 1 − δ, and where both hold so does their mean. A certificate on out-of-fold scores would not
be exact, for the router that decides then is not among those that were certified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from routing_regimes import FEW, Scores, before_call, elsewhere, few, in_domain
from routing_sets import Floats, Indices, Table, load
from routing_views import View, stacked, views

from orchestrator.core.contract import certificate as contract

REGIMES = ("id", "id-1500", "ood", "lodo")
PROMISES = ((0.01, 0.1), (0.02, 0.1), (0.05, 0.1), (0.05, 0.05), (0.1, 0.1))
"""(ε, δ) of the decisions written."""
HALVES_SEED = 9
QUANTILES = np.arange(1, 200) / 200
Decided = dict[str, list[str]]


def write(train: Path, test: Path, out: Path, cache: Path, say: Callable[[str], None], jobs: int = 1) -> int:
    """Writes `out` and returns how many lines it has. Of `test` it reads queries, weak outputs and local_preds only:
    outcomes and subjects are dropped as soon as the folder is read, where it has them at all."""
    tables, asked = load(train), {name: _stripped(table) for name, table in load(test).items()}
    seen, new = views(tables, cache, say, jobs), views(asked, cache, say, jobs)
    lines = 0
    with out.open("w", encoding="utf-8") as file:
        for name, table in asked.items():
            for row in _rows(table, new[name], tables, seen, say):
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
    table: Table, asked: View, tables: Mapping[str, Table], seen: Mapping[str, View], say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    found: dict[str, tuple[Scores, Decided]] = {}
    for regime in REGIMES:
        if regime.startswith("id") and table.name not in tables:
            say(f"{table.name}: no labels of it in the training folder, so {regime} is left out")
            continue
        same = regime == "id-1500" and len(tables[table.name]) <= FEW
        found[regime] = found["id"] if same else _scored(table, asked, regime, tables, seen)
        scores, decided = found[regime]
        say(f"{table.name} {regime}: {len(table)} queries scored")
        for row, identity in enumerate(table.ids):
            yield {
                "id": identity,
                "dataset": table.name,
                "regime": regime,
                "score": float(scores.score[row]),
                "score_after_answer": _number(scores.after_answer, row),
                "score_after_agreement": _number(scores.after_agreement, row),
                "decisions": {promise: choices[row] for promise, choices in decided.items()},
            }


def _scored(
    table: Table, asked: View, regime: str, tables: Mapping[str, Table], seen: Mapping[str, View]
) -> tuple[Scores, Decided]:
    name = table.name
    if not regime.startswith("id"):
        # No label of the set, so no promise about it can be certified: the strong model answers.
        always = {_key(*promise): ["strong"] * len(table) for promise in PROMISES}
        return elsewhere(name, regime, tables, seen, asked, set()), always
    labelled, known = tables[name], seen[name]
    if regime == "id-1500":
        rows = few(labelled, FEW)
        labelled, known = labelled.take(rows), known.take(rows)
    return in_domain(labelled, known, asked), decisions(labelled, known, asked, table.queries)


def decisions(labelled: Table, known: View, asked: View, queries: Sequence[str]) -> Decided:
    """Weak or strong for each row asked, by promise: each decided by one of two certified routers."""
    halves = halved(labelled)
    first = certified(labelled, known, asked, *halves)
    second = certified(labelled, known, asked, *halves[::-1])
    turn = [crc32(query.encode("utf-8", "surrogatepass")) & 1 for query in queries]
    told: Decided = {}
    for promise in first[1]:
        pairs = [[contract.decide(held[promise], float(score)) for score in scores] for scores, held in (first, second)]
        told[promise] = [pairs[which][row] for row, which in enumerate(turn)]
    return told


def certified(
    labelled: Table, known: View, asked: View, fitting: Indices, certifying: Indices
) -> tuple[Floats, dict[str, contract.Certificate]]:
    """The rows asked as the router of the rows `fitting` scores them, and what the rows `certifying` certify, at half
    of each δ, of thresholds on that score; thresholds tried are quantiles of the rows asked."""
    both = stacked(known.take(certifying), asked)
    scores = before_call(labelled.take(fitting), known.take(fitting), both)
    tested, new = scores[: len(certifying)], scores[len(certifying) :]
    return new, certificates(labelled.take(certifying), tested, np.quantile(new, QUANTILES), 0.5)


def halved(table: Table) -> tuple[Indices, Indices]:
    """The rows in two halves; rows of one split key are in one."""
    keys, at = np.unique(table.split_keys, return_inverse=True)
    chosen = np.random.default_rng(HALVES_SEED).permutation(len(keys)) < 0.5 * len(keys)
    return np.flatnonzero(~chosen[at]), np.flatnonzero(chosen[at])


def certificates(table: Table, scores: Floats, grid: Floats, part: float = 1.0) -> dict[str, contract.Certificate]:
    """By promise, what these rows certify of a threshold on their scores, with `part` of its δ. `grid` must not depend
    on these rows."""
    assert table.weak is not None
    assert table.strong is not None
    scale = max(1.0, float(np.max(table.strong)), float(np.max(table.weak)))  # MT-Bench grades from 1 to 10
    return {
        _key(epsilon, delta): contract.certify(
            scores, table.weak / scale, table.strong / scale, epsilon=epsilon, delta=part * delta, grid=grid
        )
        for epsilon, delta in PROMISES
    }


def _key(epsilon: float, delta: float) -> str:
    return f"{epsilon:g},{delta:g}"


def _number(scores: Floats | None, row: int) -> float | None:
    return None if scores is None else float(scores[row])
