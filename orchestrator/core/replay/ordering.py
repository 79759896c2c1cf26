"""How well a score orders rows between a weak and a strong model, on weighted rows, so that it can be resampled.

The same figures as `evaluate` (which takes every row once): rows of equal score count in their expectation over every
order of them, so a curve is straight between the ends of runs of equal scores.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.core.replay.resample import Statistic

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_ROUNDING = 1e-12


class Ordering:
    """Weak's and strong's quality per row, and the score: a higher one goes to the strong model first."""

    def __init__(self, weak: ArrayLike, strong: ArrayLike, score: ArrayLike) -> None:
        low, high = np.asarray(weak, dtype=np.float64), np.asarray(strong, dtype=np.float64)
        self._weak, self._gain = low, high - low
        self._mine = _runs(np.asarray(score, dtype=np.float64))
        self._last: tuple[Floats, tuple[Floats, Floats]] | None = None
        self._best = _runs(self._gain)

    def apgr(self, weights: Floats) -> Floats:
        """Mean share of the gap recovered; NaN where the strong model is no better."""
        share, gained = self._mine_curve(weights)
        total = gained[:, -1]
        area = ((gained[:, 1:] + gained[:, :-1]) / 2 * np.diff(share, axis=1)).sum(axis=1)
        return np.asarray(np.divide(area, total, out=np.full(len(total), np.nan), where=total > _ROUNDING))

    def cpt(self, recovered: float) -> Statistic:
        """The least share of strong calls that recovers this much of the gap."""

        def statistic(weights: Floats) -> Floats:
            share, gained = self._mine_curve(weights)
            total = gained[:, -1]
            reached = gained >= recovered * total[:, None] - _ROUNDING
            at, rows = np.maximum(1, np.argmax(reached, axis=1)), np.arange(len(weights))
            before, after = gained[rows, at - 1], gained[rows, at]
            rise = after - before
            part = np.divide(recovered * total - before, rise, out=np.ones_like(rise), where=rise > _ROUNDING)
            found = share[rows, at - 1] + np.clip(part, 0, 1) * (share[rows, at] - share[rows, at - 1])
            return np.asarray(np.where(total > _ROUNDING, found, np.nan))

        return statistic

    def regret(self, strong_served: ArrayLike) -> Statistic:
        """Quality that the oracle has and this order has not, at the share of rows that the strong model served."""
        served = np.asarray(strong_served, dtype=np.float64)

        def statistic(weights: Floats) -> Floats:
            share = weights @ served / weights.sum(axis=1)
            mine, best = self._mine_curve(weights), self._curve(weights, self._best)
            return np.array(
                [
                    np.interp(at, best[0][k], best[1][k]) - np.interp(at, mine[0][k], mine[1][k])
                    for k, at in enumerate(share)
                ]
            )

        return statistic

    def _mine_curve(self, weights: Floats) -> tuple[Floats, Floats]:
        """Every figure asks for the curve of the same draws in turn, so the last one is kept."""
        if self._last is None or self._last[0] is not weights:
            self._last = weights, self._curve(weights, self._mine)
        return self._last[1]

    def _curve(self, weights: Floats, runs: tuple[Indices, Indices]) -> tuple[Floats, Floats]:
        """Share of strong calls and quality gained, (replicates, runs + 1), at the end of each run."""
        order, starts = runs
        sorted_weights = weights[:, order]
        size = np.add.reduceat(sorted_weights, starts, axis=1)
        gained = np.add.reduceat(sorted_weights * self._gain[order], starts, axis=1)
        whole = weights.sum(axis=1, keepdims=True)
        nothing = np.zeros((len(weights), 1))
        return (
            np.concatenate([nothing, np.cumsum(size, axis=1) / whole], axis=1),
            np.concatenate([nothing, np.cumsum(gained, axis=1) / whole], axis=1),
        )


def _runs(score: Floats) -> tuple[Indices, Indices]:
    """The rows by falling score, and where each run of equal scores begins."""
    order = np.argsort(-score, kind="stable")
    values = score[order]
    return order, np.flatnonzero(np.append(True, values[1:] != values[:-1]))
