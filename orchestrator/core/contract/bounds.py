"""Tests, from n labelled rows, claims that a mean margin is below zero; it chooses no policy and draws no chance.

A row's margin under a policy is what was served less what was promised: `quality − (1 − epsilon) × reference`, which
is `weak − (1 − epsilon) × reference` where the weak model answers and `epsilon × reference` where the reference does.
A promise is kept when the margin's mean is not negative. The test is a game (Waudby-Smith & Ramdas 2020, arXiv
2010.09686): wealth starts at 1 and is multiplied by 1 + bet × margin, row by row; where the mean is not above zero
no strategy makes it grow in expectation, so it reaches 1/delta with probability delta at most, whatever n is.
The strategy hedges a digital option: it buys and rebuys what would pay 1/delta if the z-test rejected in the end.
Thereby the test is as sharp as the z-test for large n and exact for every n (betting towards a target that is
recalculated: Voráček & Orabona 2025, arXiv 2505.22422). Wealth left over at the end is turned into a decision by one
uniform draw (Ramdas & Manole 2023, arXiv 2304.02611), which the caller gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MOST_AT_STAKE = 0.9  # of the wealth, should the worst margin come: no single row can ruin the game
_GUESS_ROWS, _GUESS_SECOND_MOMENT = 30.0, 0.1  # the squared margins before the first row is seen: weight and mean
_LOST = 1e-6  # a claim with this chance left is given up: it saves most of the work
_PACE = 50  # bets change this often per remaining game; towards the end after every row


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Labelled rows in the order of play, which must not depend on labels. `first[i]` is the first policy of the
    walk under which row i goes to the weak model; `gain` is weak − reference in [-1, 1]. Rows chosen with unequal
    chance come with both columns multiplied by a weight ∝ 1 / chance, from `least_weight` to 1."""

    first: Ints
    reference: Floats
    gain: Floats
    least_weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """One claim per column: "policy `policy` breaks the promise of `epsilon`", to be refuted at level `delta`."""

    policy: Ints
    epsilon: Floats
    delta: Floats

    def take(self, kept: Bools) -> Claims:
        return Claims(policy=self.policy[kept], epsilon=self.epsilon[kept], delta=self.delta[kept])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """What is known of each claim still open: wealth, sum of margins and of their squares, rows seen."""

    wealth: Floats
    total: Floats
    squares: Floats
    seen: int

    def take(self, kept: Bools) -> _Table:
        return _Table(wealth=self.wealth[kept], total=self.total[kept], squares=self.squares[kept], seen=self.seen)


def _opened(rows: Rows, claims: int) -> _Table:
    """Before the first row; the guess of the squares supposes that rows the weak model may get are chosen often."""
    squares = np.full(claims, _GUESS_ROWS * _GUESS_SECOND_MOMENT * rows.least_weight**2)
    return _Table(wealth=np.ones(claims), total=np.zeros(claims), squares=squares, seen=0)


def refuted(rows: Rows, claims: Claims, *, draw: float, population: int | None = None) -> Bools:
    """Which claims are refuted. A claim that is true is refuted with probability at most its delta.

    `draw` is uniform in (0, 1] and independent of the rows, or larger than such a draw. Rows are independent draws
    from the task class; with `population` they are drawn without replacement from that many, and the claim is about
    those only."""
    n = len(rows.gain)
    answer, column = np.zeros(len(claims.delta), dtype=np.bool_), np.arange(len(claims.delta))
    table = _opened(rows, len(column))
    for start, stop in _rounds(n):
        table = _play(rows, claims, table, start, stop, n, population)
        chance = table.wealth * claims.delta
        answer[column[chance >= 1]] = True
        kept = (chance < 1) & (chance > _LOST)
        table, claims, column = table.take(kept), claims.take(kept), column[kept]
        if not len(column):
            break
    answer[column[table.wealth * claims.delta >= draw]] = True
    return answer


def margins(rows: Rows, claims: Claims, start: int, stop: int) -> Floats:
    """(rows, claims): epsilon × reference, and the gain where the policy sends the row to the weak model."""
    routed = rows.first[start:stop, None] <= claims.policy
    return np.asarray(claims.epsilon * rows.reference[start:stop, None] + routed * rows.gain[start:stop, None])


def _rounds(n: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < n:
        stop = start + max(1, (n - start) // _PACE)
        yield start, stop
        start = stop


def _play(rows: Rows, claims: Claims, table: _Table, start: int, stop: int, n: int, population: int | None) -> _Table:
    margin = margins(rows, claims, start, stop)
    fair = _fair(margin, table, population) if population else np.zeros((1, len(claims.delta)))
    surprise = margin - fair
    worst = (1 - claims.epsilon) + np.maximum(fair.max(axis=0), 0)
    bet = np.minimum(_hedge(table, claims.delta, n - start, population), MOST_AT_STAKE / worst)
    return _Table(
        wealth=table.wealth * np.prod(1 + bet * surprise, axis=0),
        total=table.total + margin.sum(axis=0),
        squares=table.squares + np.square(surprise).sum(axis=0),
        seen=stop,
    )


def _fair(margin: Floats, table: _Table, population: int) -> Floats:
    """The mean of what is left in the population if its whole sum is zero, before each row of the round."""
    before = table.total + np.cumsum(margin, axis=0) - margin
    left = population - table.seen - np.arange(len(margin))
    return np.asarray(-before / left[:, None])


def _hedge(table: _Table, delta: Floats, rows_left: int, population: int | None) -> Floats:
    """The option's delta-hedge per unit of wealth: density / (chance × deviation of the sum still to come)."""
    variance = table.squares / (table.seen + _GUESS_ROWS)
    weight = 1.0
    if population:  # the fewer rows stay undrawn, the more each drawn one still says
        weight = (population - table.seen) / max(population - table.seen - rows_left, 1)
    chance = np.minimum(table.wealth * delta, 1.0)
    density = np.interp(chance, *_normal_density_at_quantiles())
    return np.asarray(density / np.maximum(chance, _LOST / 10) / np.sqrt(variance * rows_left * weight))


@cache
def _normal_density_at_quantiles() -> tuple[Floats, Floats]:
    """The normal density at its own quantiles, as a table: it only steers bets, so its error costs no validity."""
    normal = NormalDist()
    chance = np.concatenate([np.logspace(-8, -3, 200), np.linspace(0.001, 1 - 1e-6, 2000)[1:]])
    return chance, np.array([normal.pdf(normal.inv_cdf(float(c))) for c in chance])
