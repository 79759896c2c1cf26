"""Bootstrap over clusters: intervals of any statistic of weighted rows. It knows no models.

Rows of one cluster (variants of one question) are drawn together, as many clusters as there are; a replicate is a
weight per row, how often it was drawn (Efron & Tibshirani 1993, chapter 8). Percentile intervals; the seed is the
caller's, and the same seed gives the same draws, so two policies on the same rows are compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.core.replay.evaluate import Interval

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights of shape (replicates, rows) → one value per replicate; NaN where it has none."""

_AT_ONCE = 64
_MOST_KEPT = 64_000_000  # weights, of two bytes each


class Draws:
    """Rows drawn with replacement, cluster by cluster; the same seed draws the same. Over 64,000 rows there are fewer
    replicates than asked for (`replicates` says how many), never under 100."""

    def __init__(self, clusters: Sequence[str], replicates: int, seed: int) -> None:
        _, self._cluster = np.unique(np.array(clusters, dtype=str), return_inverse=True)
        self.rows, self.clusters = len(clusters), int(self._cluster.max()) + 1
        self.replicates = min(replicates, max(100, _MOST_KEPT // self.clusters))
        dice = np.random.Generator(np.random.PCG64(seed))
        sizes = [min(_AT_ONCE, self.replicates - start) for start in range(0, self.replicates, _AT_ONCE)]
        self._drawn = [_counts(dice, size, self.clusters) for size in sizes]

    def __iter__(self) -> Iterator[Floats]:
        """Blocks of row weights, (up to 64, rows)."""
        for drawn in self._drawn:
            yield drawn[:, self._cluster].astype(np.float64)


def intervals(statistics: Mapping[str, Statistic], draws: Draws, level: float = 0.95) -> dict[str, Interval]:
    """Each statistic on the rows as they are, and its central interval over the draws."""
    found: dict[str, list[Floats]] = {name: [] for name in statistics}
    for weights in draws:
        for name, statistic in statistics.items():
            found[name].append(statistic(weights))
    whole = np.ones((1, draws.rows))
    return {
        name: _interval(float(statistic(whole)[0]), np.concatenate(found[name]), level)
        for name, statistic in statistics.items()
    }


def mean_of(values: ArrayLike) -> Statistic:
    column = np.asarray(values, dtype=np.float64)
    return lambda weights: np.asarray(weights @ column / weights.sum(axis=1))


def share_of(dividend: ArrayLike, divisor: ArrayLike) -> Statistic:
    """Sum over sum; NaN where the divisor's is zero."""
    over, under = np.asarray(dividend, dtype=np.float64), np.asarray(divisor, dtype=np.float64)

    def ratio(weights: Floats) -> Floats:
        below = weights @ under
        return np.asarray(np.divide(weights @ over, below, out=np.full(len(weights), np.nan), where=below != 0))

    return ratio


def _counts(dice: np.random.Generator, size: int, clusters: int) -> NDArray[np.uint16]:
    """How often each cluster was drawn, (size, clusters), each row `clusters` draws."""
    drawn = dice.integers(0, clusters, size=(size, clusters)) + np.arange(size)[:, None] * clusters
    return np.bincount(drawn.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.uint16)


def _interval(value: float, replicates: Floats, level: float) -> Interval:
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return Interval(value=value, low=float("nan"), high=float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high))
