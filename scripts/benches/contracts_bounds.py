"""Other tests of "this policy keeps the promise", to stand beside the one that is used; nothing serves them.

Each takes the margins of the calibration rows, ordered by score: `kept` if the reference answers, `sent` if the weak
model does, and `routed`, how many rows of lowest score each policy of the walk sends. It returns which policies pass.
"""

from __future__ import annotations

from collections.abc import Callable
from math import e, log

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Test = Callable[[Floats, Floats, Ints, float, float, np.random.Generator], Bools]


def _sums(kept: Floats, sent: Floats, routed: Ints) -> Floats:
    """Sum over all rows, for each policy."""
    return np.asarray(kept.sum() + np.concatenate([[0.0], np.cumsum(sent - kept)])[routed])


def plain(kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator) -> Bools:
    """No test: the promise is kept on the very rows that choose the policy."""
    return np.asarray(_sums(kept, sent, routed) >= 0)


def hoeffding(
    kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator
) -> Bools:
    """Hoeffding 1963, for values within a range of 2 − epsilon."""
    n = len(kept)
    return np.asarray(_sums(kept, sent, routed) / n >= (2 - epsilon) * np.sqrt(log(1 / delta) / (2 * n)))


def hoeffding_bentkus(
    kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator
) -> Bools:
    """Bates et al. 2021, arXiv 2101.02703, on the risk (1 − margin) / (2 − epsilon)."""
    n, level = len(kept), 1 / (2 - epsilon)
    risk = np.clip((1 - _sums(kept, sent, routed) / n) / (2 - epsilon), 1e-9, level)
    divergence = risk * np.log(risk / level) + (1 - risk) * np.log((1 - risk) / (1 - level))
    return np.asarray(np.minimum(np.exp(-n * divergence), e * binom.cdf(np.ceil(n * risk), n, level)) <= delta)


def empirical_bernstein(
    kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator
) -> Bools:
    """Maurer & Pontil 2009, arXiv 0907.3740, theorem 4."""
    n, total = len(kept), _sums(kept, sent, routed)
    variance = (_sums(np.square(kept), np.square(sent), routed) - total**2 / n) / (n - 1)
    slack = 7 * (2 - epsilon) * log(2 / delta) / (3 * (n - 1))
    return np.asarray(total / n >= np.sqrt(2 * variance * log(2 / delta) / n) + slack)


def plug_in_betting(
    kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator
) -> Bools:
    """Waudby-Smith & Ramdas 2020, arXiv 2010.09686: the predictable plug-in bet for n rows, one-sided."""
    n, target = len(kept), log(1 / delta)
    gain, total, spread = np.zeros(len(routed)), np.zeros(len(routed)), np.full(len(routed), 0.25)
    best = gain.copy()
    for seen, row in enumerate(dice.permutation(n)):
        bet = np.minimum(np.sqrt(2 * target * (seen + 1) / (n * spread)), 0.5 / (1 - epsilon))
        margin = np.where(row < routed, sent[row], kept[row])
        gain += np.log1p(bet * margin)
        best = np.maximum(best, gain)
        total += margin
        spread += np.square(margin - total / (seen + 2))
    return np.asarray(best >= target)


def rounded_sign(
    kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator
) -> Bools:
    """Each margin rounded at random to −1, 0 or 1 without moving its mean; then the exact sign test. Symmetric."""
    chance = dice.random(len(kept))
    kept_sign, sent_sign = (np.sign(each) * (chance < np.abs(each)) for each in (kept, sent))
    below = _sums(1.0 * (kept_sign < 0), 1.0 * (sent_sign < 0), routed)
    above = _sums(1.0 * (kept_sign > 0), 1.0 * (sent_sign > 0), routed)
    return np.asarray(binom.cdf(below, below + above, 0.5) <= delta)


def z_test(kept: Floats, sent: Floats, routed: Ints, epsilon: float, delta: float, dice: np.random.Generator) -> Bools:
    """Exact only for n without end: what no exact test can be expected to beat."""
    n, total = len(kept), _sums(kept, sent, routed)
    variance = _sums(np.square(kept), np.square(sent), routed) / n - (total / n) ** 2
    return np.asarray(total >= norm.ppf(1 - delta) * np.sqrt(n * np.maximum(variance, 1e-12)))


BOUNDS: dict[str, Test] = {
    "Hoeffding": hoeffding,
    "Hoeffding–Bentkus": hoeffding_bentkus,
    "empirical Bernstein": empirical_bernstein,
    "betting, plug-in": plug_in_betting,
    "sign test, rounded": rounded_sign,
    "z-test (not exact)": z_test,
}
