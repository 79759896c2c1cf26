"""Scores one set under each regime, by cross-validation or on another folder; grades nothing.

`id` learns from the set's own labels, `id-1500` from 1,500 of them, `ood` from unrelated sets, `lodo` from all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import routing_fit as fit
import routing_transfer as transfer
from routing_baselines import BASELINES
from routing_sets import Floats, Indices, Table
from routing_views import View

FOLDS, LODO_FOLDS = 5, 2
FEW = 1500
CURVE = (100, 300, 750, 1500)
SPLIT_SEED = 20_241
Predict = Callable[[Table, View, View], Floats]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Predicted gain before the call, after the weak answer, after others' final answers; None where not given."""

    score: Floats
    after_answer: Floats | None = None
    after_agreement: Floats | None = None
    weak: Floats | None = None
    """Predicted quality of the weak model, before the call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetScores:
    """Out-of-fold scores of every row of one set."""

    name: str
    regimes: Mapping[str, Scores]
    baselines: Mapping[str, Floats] = field(default_factory=dict)
    curve: Mapping[int, Floats] = field(default_factory=dict)
    """Labels learnt from → out-of-fold scores."""


def folds(table: Table, count: int = FOLDS) -> Iterator[tuple[Indices, Indices]]:
    """(training rows, test rows), `count` times; rows with one split key are always on one side."""
    keys, at = np.unique(table.split_keys, return_inverse=True)
    part = (np.random.default_rng(SPLIT_SEED).permutation(len(keys)) % count)[at]
    for each in range(count):
        yield np.flatnonzero(part != each), np.flatnonzero(part == each)


def few(table: Table, count: int) -> Indices:
    """`count` rows at random, the same for the same table; all of them where there are not so many."""
    return np.random.default_rng(SPLIT_SEED + 1).permutation(len(table))[:count]


def in_domain(train: Table, seen: View, asked: View) -> Scores:
    """All three scores, learnt from the rows of `train`."""
    answer = agreement = None
    if seen.answer is not None and asked.answer is not None:
        answer = fit.predict(train, seen.after_answer(), asked.after_answer())
        if seen.agreement is not None and asked.agreement is not None:
            agreement = fit.predict(train, seen, asked)
    found = fit.both(train, seen.before_answer(), asked.before_answer())
    return Scores(score=found.gain, after_answer=answer, after_agreement=agreement, weak=found.weak)


def before_call(train: Table, seen: View, asked: View) -> Floats:
    return fit.predict(train, seen.before_answer(), asked.before_answer())


def with_few(train: Table, seen: View, asked: View) -> Scores:
    rows = few(train, FEW)
    return in_domain(train.take(rows), seen.take(rows), asked)


def elsewhere(
    name: str, regime: str, tables: Mapping[str, Table], views: Mapping[str, View], asked: View, keys: set[str]
) -> Scores:
    """`ood` and `lodo`: without a label of this set, so reading its answers teaches nothing either."""
    return Scores(score=transfer.predict(name, regime, tables, views, asked.before_answer(), keys))


def out_of_fold(table: Table, view: View, learn: Predict) -> Floats:
    """Each row scored by a router that has not seen its fold."""
    found = np.empty(len(table))
    for train, test in folds(table):
        found[test] = learn(table.take(train), view.take(train), view.take(test))
    return found


def cross_validated(
    name: str, tables: Mapping[str, Table], views: Mapping[str, View], *, curve: bool, regimes: tuple[str, ...]
) -> SetScores:
    """Everything the table of the bench shows of one set."""
    table, view = tables[name], views[name]
    found: dict[str, list[tuple[Indices, Scores]]] = {regime: [] for regime in regimes}
    baselines = {each: np.empty(len(table)) for each in BASELINES}
    sizes = {size: np.empty(len(table)) for size in CURVE if curve and size < FEW}
    for train_rows, test_rows in folds(table):
        train, seen, test, asked = (
            table.take(train_rows),
            view.take(train_rows),
            table.take(test_rows),
            view.take(test_rows),
        )
        for each, baseline in BASELINES.items():
            baselines[each][test_rows] = baseline(train, seen, test, asked)
        if "id" in found:
            found["id"].append((test_rows, in_domain(train, seen, asked)))
        if "id-1500" in found:
            small = len(train) <= FEW and "id" in found
            found["id-1500"].append((test_rows, found["id"][-1][1] if small else with_few(train, seen, asked)))
        for size, scores in sizes.items():
            rows = few(train, size)
            scores[test_rows] = before_call(train.take(rows), seen.take(rows), asked)
    for regime in set(found) & {"ood", "lodo"}:
        for _, rows in folds(table, LODO_FOLDS):
            keys = {table.split_keys[row] for row in rows}
            found[regime].append((rows, elsewhere(name, regime, tables, views, view.take(rows), keys)))
    joined = {regime: _joined(parts, len(table)) for regime, parts in found.items()}
    return SetScores(name=name, regimes=joined, baselines=baselines, curve=sizes)


def _joined(parts: list[tuple[Indices, Scores]], count: int) -> Scores:
    """The parts' scores back in the table's order."""

    def of(name: str) -> Floats | None:
        whole = np.empty(count)
        for rows, scores in parts:
            part = getattr(scores, name)
            if part is None:
                return None
            whole[rows] = part
        return whole

    score = of("score")
    assert score is not None
    return Scores(score=score, after_answer=of("after_answer"), after_agreement=of("after_agreement"), weak=of("weak"))
