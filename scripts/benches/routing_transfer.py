"""Predicts the gain on a set without a label of it, from other sets; most that looks learnable does not transfer.

Measured on every set held out in turn: word vectors and n-grams transfer at 0.52, all signals together at 0.556,
length and numbers alone at 0.568. So these two, and where a sibling set is allowed, half a kernel ridge on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from routing_fit import kernel_ridge
from routing_sets import FAMILIES, Floats, Indices, Table, related
from routing_views import View

from orchestrator.core.reading import lexical

COLUMNS = [lexical.SIGNALS.index(name) for name in ("words", "numbers")]
SHRINKAGE = 1.0
LEAST_ROWS = 100  # a set smaller than this (MT-Bench) would only add noise
SIBLING_ROWS, SIBLING_WEIGHT = 2500, 0.5


def sources(target: str, regime: str, tables: Mapping[str, Table]) -> list[str]:
    """The sets an `ood` or `lodo` router of `target` may learn from."""
    barred = related(target) if regime == "ood" else {target}
    return [name for name, table in tables.items() if name not in barred and len(table) >= LEAST_ROWS]


def predict(
    target: str, regime: str, tables: Mapping[str, Table], views: Mapping[str, View], asked: View, asked_keys: set[str]
) -> Floats:
    """Predicted gain, in units of each source set's deviation. Rows that share a split key with a query asked are
    left out of what is learnt from."""
    names = sources(target, regime, tables)
    rows = {name: _apart(tables[name], asked_keys) for name in names}
    rows = {name: kept for name, kept in rows.items() if len(kept) >= LEAST_ROWS}
    plain = _plain({name: views[name].query.signals[kept] for name, kept in rows.items()}, tables, rows, asked)
    siblings = [name for family in FAMILIES if target in family for name in family if name in rows]
    for name in siblings:
        kept = rows[name][np.random.default_rng(0).permutation(len(rows[name]))[:SIBLING_ROWS]]
        part = tables[name].take(kept)
        close = kernel_ridge(views[name].take(kept).before_answer(), asked, _standard(part.gain), part.subjects)
        plain = _standard(plain) + SIBLING_WEIGHT * _standard(close)
    return plain


def _plain(
    signals: Mapping[str, Floats], tables: Mapping[str, Table], rows: Mapping[str, Indices], asked: View
) -> Floats:
    """Ridge on what differs within each source set; a set weighs by the root of its size."""
    chosen = {name: each[:, COLUMNS] for name, each in signals.items()}
    spread = np.sqrt(np.mean([each.var(axis=0) for each in chosen.values()], axis=0)) + 1e-6
    centre = np.mean([each.mean(axis=0) for each in chosen.values()], axis=0)
    squares, products, weights = np.zeros((len(COLUMNS), len(COLUMNS))), np.zeros(len(COLUMNS)), 0.0
    for name, each in chosen.items():
        inside = np.clip((each - each.mean(axis=0)) / spread, -3, 3)
        weight = len(each) ** 0.5
        squares += weight * inside.T @ inside / len(each)
        products += weight * inside.T @ _standard(tables[name].gain[rows[name]]) / len(each)
        weights += weight
    slopes = np.linalg.solve(squares / weights + SHRINKAGE * np.eye(len(COLUMNS)), products / weights)
    return np.asarray(np.clip((asked.query.signals[:, COLUMNS] - centre) / spread, -4, 4) @ slopes)


def _apart(table: Table, keys: set[str]) -> Indices:
    return np.array([row for row, key in enumerate(table.split_keys) if key not in keys], dtype=np.intp)


def _standard(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / (values.std() + 1e-9))
