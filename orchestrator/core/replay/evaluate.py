"""Grades a router on queries whose outcomes are known: curves, savings, regret, calibration; it draws nothing.

Everywhere: `weak` and `strong` are the qualities of the two models' answers, one per query; `score` orders the
queries, and a higher score goes to the strong model first. Queries of equal score count in their expectation
over every order of them. Metrics after RouteLLM (Ong et al. 2024, arXiv 2406.18665).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, pi, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_ROUNDING = 1e-12  # sums of outcomes differ by this much with their order


class UnusableOutcomes(ValueError):
    """The outcomes cannot be graded: the message says which, and what to give instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Cost against quality: at `share[k]` of calls strong, mean quality `quality[k]`; both of length n + 1."""

    share: Floats
    quality: Floats

    @property
    def pgr(self) -> Floats:
        """Performance gap recovered: 0 is all weak, 1 is all strong; above 1 the mix beats the strong model."""
        weak, strong = self.quality[0], self.quality[-1]
        if strong == weak:
            raise UnusableOutcomes(f"both models have mean quality {weak:.4f}: there is no gap to recover")
        return np.asarray((self.quality - weak) / (strong - weak))


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """The cheapest point that keeps the quality asked for, found in hindsight, against always strong."""

    share: float
    calls_saved: float
    dollars_saved: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with the central interval of its bootstrap replicates."""

    value: float
    low: float
    high: float


def curve(weak: ArrayLike, strong: ArrayLike, score: ArrayLike) -> Curve:
    """Quality after sending the 0, 1, …, n highest-scored queries to the strong model."""
    low, high, values = _checked(weak, strong, score)
    n = len(low)
    gained = np.concatenate([[0.0], np.cumsum(_ranked(high - low, values))]) / n
    return Curve(share=np.arange(n + 1) / n, quality=low.mean() + gained)


def apgr(weak: ArrayLike, strong: ArrayLike, score: ArrayLike) -> float:
    """Mean PGR over the share of strong calls from 0 to 1, as the exact integral. Random order gives 0.5."""
    points = curve(weak, strong, score)
    return float(np.trapezoid(points.pgr, points.share))


def apgr_routellm(weak: ArrayLike, strong: ArrayLike, score: ArrayLike) -> float:
    """APGR as RouteLLM's code has it: trapezoid over 11 quantile thresholds, strong where score >= threshold."""
    low, high, values = _checked(weak, strong, score)
    taken = [values >= threshold for threshold in np.unique(np.quantile(values, np.linspace(0, 1, 11)))[::-1]]
    share = np.array([mask.mean() for mask in taken])
    quality = np.array([np.where(mask, high, low).mean() for mask in taken])
    span = share[-1] - share[0]
    if span == 0:
        return 0.5
    return float((np.trapezoid(quality, share) - low.mean() * span) / ((high.mean() - low.mean()) * span))


def cpt(weak: ArrayLike, strong: ArrayLike, score: ArrayLike, recovered: float) -> float:
    """Call-performance threshold: the smallest share of strong calls whose PGR is at least `recovered`."""
    points = curve(weak, strong, score)
    return float(points.share[np.argmax(points.pgr >= recovered - _ROUNDING)])


def saving(
    weak: ArrayLike, strong: ArrayLike, score: ArrayLike, keep: float, weak_usd: ArrayLike, strong_usd: ArrayLike
) -> Saving:
    """What is saved at the smallest share whose quality is at least `keep` × the strong model's mean."""
    points = curve(weak, strong, score)
    cheap, dear, values = _checked(weak_usd, strong_usd, score)
    k = int(np.argmax(points.quality >= keep * points.quality[-1] - _ROUNDING))
    spent = cheap.sum() + _ranked(dear - cheap, values)[:k].sum()
    dollars = 1 - spent / dear.sum() if dear.sum() > 0 else 0.0
    return Saving(share=float(points.share[k]), calls_saved=1 - float(points.share[k]), dollars_saved=float(dollars))


def oracle_score(weak: ArrayLike, strong: ArrayLike) -> Floats:
    """The score of one who knows every outcome: the gain itself. No router orders better."""
    return np.asarray(strong, dtype=np.float64) - np.asarray(weak, dtype=np.float64)


def regret(weak: ArrayLike, strong: ArrayLike, score: ArrayLike, share: float) -> float:
    """Quality per query that the oracle has and this score has not, both with `share` of calls strong."""
    mine, best = curve(weak, strong, score), curve(weak, strong, oracle_score(weak, strong))
    at = float(np.interp(share, mine.share, mine.quality))
    return float(np.interp(share, best.share, best.quality)) - at


def auroc(happened: ArrayLike, score: ArrayLike) -> float:
    """P(a query where it happened scores above one where not), ties count half. NaN where all are alike."""
    labels, values = np.asarray(happened, dtype=bool), np.asarray(score, dtype=np.float64)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if not positives or not negatives:
        return float("nan")
    _, groups, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[groups]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_error(predicted: ArrayLike, happened: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over `bins` equal-mass bins, less the part that sampling noise alone adds.

    |gap| of a bin is biased upwards: a calibrated bin of finite size still shows a gap. What a normal of the bin's
    standard error adds to it is taken off (Kumar, Liang & Ma 2019, arXiv 1909.10155, the ℓ1 form of their code).
    """
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(happened, dtype=np.float64)
    if len(p) != len(y) or len(p) < bins:
        raise UnusableOutcomes(f"{len(p)} predictions and {len(y)} outcomes cannot fill {bins} bins: use fewer bins")
    total = 0.0
    for rows in np.array_split(np.argsort(p, kind="stable"), bins):
        gap = abs(float(p[rows].mean() - y[rows].mean()))
        error = float(y[rows].std()) / sqrt(max(1, len(rows) - 1))
        total += len(rows) / len(p) * (2 * gap - _folded_mean(gap, error))
    return max(0.0, total)


def apgr_interval(
    weak: ArrayLike, strong: ArrayLike, score: ArrayLike, draws: Indices, level: float = 0.95
) -> Interval:
    """APGR with its bootstrap interval. `draws` (replicates, n) are row numbers the caller drew with replacement."""
    low, high, values = _checked(weak, strong, score)
    gain, n = high - low, len(low)
    _, group = np.unique(-values, return_inverse=True)
    replicates = []
    for draw in draws:
        drawn = group[draw]
        size, total = np.bincount(drawn), np.bincount(drawn, weights=gain[draw])
        middle = (np.cumsum(size) - size / 2) / n  # the share at which half of a run of equal scores went strong
        if total.sum():
            replicates.append(float((total * (1 - middle)).sum() / total.sum()))
    return _central(apgr(low, high, values), np.array(replicates), level)


def interval(statistic: Callable[[Indices], float], draws: Indices, level: float = 0.95) -> Interval:
    """Any statistic of row numbers with its bootstrap interval; replicates that are NaN are dropped."""
    replicates = np.array([statistic(draw) for draw in draws])
    return _central(statistic(np.arange(draws.shape[1])), replicates[~np.isnan(replicates)], level)


def _central(value: float, replicates: Floats, level: float) -> Interval:
    if not len(replicates):
        return Interval(value=value, low=float("nan"), high=float("nan"))
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _ranked(amounts: Floats, score: Floats) -> Floats:
    """`amounts` by falling score; within a run of equal scores each has the run's mean."""
    _, group = np.unique(-score, return_inverse=True)
    size = np.bincount(group)
    return np.asarray(np.repeat(np.bincount(group, weights=amounts) / size, size))


def _folded_mean(mean: float, deviation: float) -> float:
    """E|N(mean, deviation²)|."""
    if deviation == 0:
        return abs(mean)
    z = mean / deviation
    return deviation * sqrt(2 / pi) * exp(-z * z / 2) + mean * erf(z / sqrt(2))


def _checked(weak: ArrayLike, strong: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats, Floats]:
    low, high, values = (np.asarray(each, dtype=np.float64) for each in (weak, strong, score))
    if not (len(low) == len(high) == len(values)) or not len(low):
        raise UnusableOutcomes(
            f"weak, strong and score need one value per query; they have {len(low)}, {len(high)}, {len(values)}"
        )
    if not np.isfinite(values).all():
        raise UnusableOutcomes(f"{int((~np.isfinite(values)).sum())} scores are not finite numbers: score every query")
    return low, high, values
