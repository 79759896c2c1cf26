"""All figures of one ordering of queries with bootstrap intervals, in one pass a replicate; it draws nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from routing_sets import Floats, Indices, Table

KEEP = (0.95, 0.99)
"""Shares of the strong model's quality at which calls and dollars saved are told."""
FIGURES = ("apgr", "cpt50", "cpt80", "calls95", "dollars95", "calls99", "dollars99", "auroc")
Interval = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Order:
    """Rows by falling score, with where each run of equal scores starts."""

    rows: Indices
    starts: Indices
    weak: Floats
    gain: Floats
    cheap: Floats
    extra: Floats


def figures(
    table: Table, score: Floats, draws: Indices, outcomes: tuple[Floats, Floats] | None = None
) -> dict[str, Interval]:
    """Value, low and high (95%) of each of FIGURES. `draws` (replicates, n) are rows drawn with replacement;
    `outcomes` are weak and strong qualities in place of the table's. "Saved" is in hindsight: the best threshold."""
    weak, strong = (table.weak, table.strong) if outcomes is None else outcomes
    assert weak is not None
    assert strong is not None
    assert table.usd is not None
    order = _ordered(weak, strong, score, table.usd)
    value = _values(order, np.ones(len(score)))
    found = np.array([_values(order, np.bincount(draw, minlength=len(score))[order.rows]) for draw in draws])
    low, high = np.nanquantile(found, [0.025, 0.975], axis=0)
    return {
        name: {"value": float(value[i]), "low": float(low[i]), "high": float(high[i])} for i, name in enumerate(FIGURES)
    }


def _ordered(weak: Floats, strong: Floats, score: Floats, usd: tuple[Floats, Floats]) -> _Order:
    rows = np.argsort(-score, kind="stable")
    ranked = score[rows]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ranked)) + 1])
    cheap, dear = usd
    return _Order(
        rows=rows,
        starts=starts,
        weak=weak[rows],
        gain=(strong - weak)[rows],
        cheap=cheap[rows],
        extra=(dear - cheap)[rows],
    )


def _values(order: _Order, times: Floats | Indices) -> Floats:
    """FIGURES where row i of the order occurs `times[i]` times. A run of equal scores is passed in a straight line."""
    n = float(times.sum())
    size = np.add.reduceat(times, order.starts)
    share = np.concatenate([[0.0], np.cumsum(size)]) / n
    gained = np.concatenate([[0.0], np.cumsum(np.add.reduceat(times * order.gain, order.starts))]) / n
    spent = np.concatenate([[0.0], np.cumsum(np.add.reduceat(times * order.extra, order.starts))]) / n
    weak, cheap = float((times * order.weak).sum()) / n, float((times * order.cheap).sum()) / n
    gap = float(gained[-1])
    if gap <= 0:
        return np.full(len(FIGURES), np.nan)
    values = [float(np.trapezoid(gained / gap, share))]
    values += [_first(share, gained, part * gap, share)[0] for part in (0.5, 0.8)]
    for keep in KEEP:
        at, paid = _first(share, gained, keep * (weak + gap) - weak, spent)
        dear = cheap + float(spent[-1])
        values += [1 - at, 1 - (cheap + paid) / dear if dear > 0 else 0.0]
    return np.array([*values, _auroc(order, times)])


def _first(share: Floats, gained: Floats, wanted: float, spent: Floats) -> tuple[float, float]:
    """Share and spending where the gain first reaches what is wanted, interpolated within the step."""
    k = int(np.argmax(gained >= wanted - 1e-12))
    if k == 0:
        return float(share[0]), float(spent[0])
    step = float(gained[k] - gained[k - 1])
    part = (wanted - float(gained[k - 1])) / step if step > 0 else 1.0
    return (
        float(share[k - 1] + part * (share[k] - share[k - 1])),
        float(spent[k - 1] + part * (spent[k] - spent[k - 1])),
    )


def _auroc(order: _Order, times: Floats | Indices) -> float:
    """P(a query that the strong model does better on scores above one where it does not); ties count half."""
    better = np.add.reduceat(times * (order.gain > 0), order.starts).astype(np.float64)
    others = np.add.reduceat(times * (order.gain <= 0), order.starts).astype(np.float64)
    if not better.sum() or not others.sum():
        return float("nan")
    below = others.sum() - np.cumsum(others)
    return float((better * (below + others / 2)).sum() / (better.sum() * others.sum()))
