"""What a policy would have cost and how good it would have been on recorded rows: figures with their intervals.

Pure: takes what `replay` found. Quality is a share of 1, cost is dollars per 1,000 requests. Each figure carries the
95% interval of a bootstrap over clusters of rows (`resample`), and two policies are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.evaluate import Interval
from orchestrator.core.replay.ordering import Ordering
from orchestrator.core.replay.played import NOBODY, Replay, Sat, Way
from orchestrator.core.replay.resample import Draws, Statistic, intervals, mean_of, share_of
from orchestrator.core.replay.seats import Seating

Floats = NDArray[np.float64]
REPLICATES = 1_000
_PER = 1_000  # requests a cost is told for
_SWEEP = tuple(round(step / 50 - 1, 2) for step in range(101))
_ALWAYS = "always "
_ROUNDING = 1e-9  # means of equal sums differ by this much with the order of their rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Something that answers every row: mean quality, dollars per 1,000 requests, and who answered what share."""

    name: str
    quality: Interval
    cost_usd: Interval
    shares: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The policy made laxer (above 0) or stricter by `offset`."""

    offset: float
    quality: float
    cost_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """One policy on the rows. `order` grades how it orders rows between the weak and the strong model; its figures
    are None where those two are equally good. `random` deals each model its share of this policy blindly."""

    policy: Figures
    random: Figures
    order: Mapping[str, Interval] | None
    curve: tuple[Point, ...]
    refused: int
    judged: int
    by_contract: int
    escalated: int
    classes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The second policy against the first, row by row: `cost_share` −0.31 costs 31% less; quality in shares of 1."""

    first: str
    second: str
    cost_share: Interval
    quality: Interval


class Ground:
    """The rows every policy is put to, and what does not depend on a policy. Raises InvalidInput without rows."""

    def __init__(self, rows: Sequence[Sat], seating: Seating, *, seed: int = 0, replicates: int = REPLICATES) -> None:
        if not rows:
            raise InvalidInput(
                "no row holds an answer of every model that plays; map fewer, or other ones, with --map."
            )
        self.seating, self._rows = seating, rows
        self.draws = Draws([row.cluster for row in rows], replicates, seed)
        self._quality = np.array([row.quality for row in rows], dtype=np.float64)
        self._cost = np.array([row.cost_nanousd for row in rows], dtype=np.float64) * (_PER / 10**9)

    def baselines(self) -> tuple[Figures, ...]:
        """Each model alone, and the oracle: the cheapest of the best answers to every row."""
        seats = range(len(self.seating.seats))
        alone = [self._served(f"{_ALWAYS}{self.seating.names[seat]}", np.full(len(self._rows), seat)) for seat in seats]
        return (*alone, self._served("oracle", self._oracle()))

    @property
    def cheapest(self) -> int:
        """Seat of the model that costs least over the rows; of equally cheap ones the worse."""
        return int(np.argmin(self._cost.sum(axis=0)))

    @property
    def best(self) -> int:
        return int(np.argmax(self._quality.mean(axis=0)))

    def simulate(self, name: str, replay: Replay) -> Simulation:
        return Simulation(
            policy=self._figures(name, replay.quality, replay.cost_usd * _PER, replay.served),
            random=self._random(replay),
            order=self._order(replay),
            curve=self._curve(replay),
            refused=replay.refused,
            judged=replay.judged,
            by_contract=replay.by_contract,
            escalated=replay.escalated,
            classes=replay.classes,
        )

    def difference(self, first: str, one: Replay, second: str, other: Replay) -> Difference:
        return self._difference(
            first, (one.quality, one.cost_usd * _PER), second, (other.quality, other.cost_usd * _PER)
        )

    def against_best(self, name: str, replay: Replay) -> Difference:
        """The policy against always asking the model that answers best."""
        best = self.best
        always = self._quality[:, best], self._cost[:, best]
        return self._difference(
            f"{_ALWAYS}{self.seating.names[best]}", always, name, (replay.quality, replay.cost_usd * _PER)
        )

    def _difference(
        self, first: str, one: tuple[Floats, Floats], second: str, other: tuple[Floats, Floats]
    ) -> Difference:
        found = self._intervals(
            {"cost_share": share_of(other[1] - one[1], one[1]), "quality": mean_of(other[0] - one[0])}
        )
        return Difference(first=first, second=second, cost_share=found["cost_share"], quality=found["quality"])

    # -- figures --------------------------------------------------------------------------------

    def _intervals(self, statistics: Mapping[str, Statistic]) -> dict[str, Interval]:
        return intervals(statistics, self.draws)

    def _figures(self, name: str, quality: Floats, cost: Floats, served: NDArray[np.intp]) -> Figures:
        found = self._intervals({"quality": mean_of(quality), "cost": mean_of(cost)})
        return Figures(name=name, quality=found["quality"], cost_usd=found["cost"], shares=self._shares(served))

    def _served(self, name: str, seats: NDArray[np.intp]) -> Figures:
        rows = np.arange(len(self._rows))
        return self._figures(name, self._quality[rows, seats], self._cost[rows, seats], seats)

    def _shares(self, served: NDArray[np.intp]) -> dict[str, float]:
        shares = {name: float(np.mean(served == seat)) for seat, name in enumerate(self.seating.names)}
        nobody = float(np.mean(served == NOBODY))
        return {**shares, "nobody": nobody} if nobody else shares

    def _oracle(self) -> NDArray[np.intp]:
        best = self._quality.max(axis=1, keepdims=True)
        return np.asarray(np.argmin(np.where(self._quality == best, self._cost, np.inf), axis=1))

    def _random(self, replay: Replay) -> Figures:
        """The same share of each model, dealt blindly, in expectation."""
        seats = range(len(self.seating.seats))
        served = np.array([replay.served == seat for seat in seats], dtype=np.float64)

        def mixed(columns: Floats) -> Statistic:
            def statistic(weights: Floats) -> Floats:
                whole = weights.sum(axis=1)
                shares, means = weights @ served.T / whole[:, None], weights @ columns / whole[:, None]
                return np.asarray((shares * means).sum(axis=1))

            return statistic

        found = self._intervals({"quality": mixed(self._quality), "cost": mixed(self._cost)})
        return Figures(
            name="random, same shares",
            quality=found["quality"],
            cost_usd=found["cost"],
            shares=self._shares(replay.served),
        )

    def _order(self, replay: Replay) -> dict[str, Interval] | None:
        weak, strong = self._quality[:, self.seating.weak], self._quality[:, self.seating.strong]
        if strong.mean() - weak.mean() <= _ROUNDING:
            return None
        ordering = Ordering(weak, strong, replay.margin)
        return self._intervals(
            {
                "apgr": ordering.apgr,
                "cpt50": ordering.cpt(0.5),
                "cpt80": ordering.cpt(0.8),
                "regret": ordering.regret(replay.served == self.seating.strong),
            }
        )

    # -- the same policy, laxer and stricter ------------------------------------------------------

    def _curve(self, replay: Replay) -> tuple[Point, ...]:
        """One point for each offset at which anything changes, the dearest first."""
        most = max(len(ways) for ways in replay.ways)
        need = np.full((len(self._rows), most), np.inf)
        quality, cost = np.zeros_like(need), np.zeros_like(need)
        for row, ways in enumerate(replay.ways):
            for column, way in enumerate(ways):
                need[row, column] = way.need
                quality[row, column] = self._quality_of(row, way)
                cost[row, column] = way.cost_nanousd * (_PER / 10**9)
        rows, points = np.arange(len(self._rows)), list[Point]()
        for offset in _SWEEP:
            taken = np.argmax(need <= offset + 1e-9, axis=1)
            point = Point(
                offset=offset,
                quality=float(quality[rows, taken].mean()),
                cost_usd=float(cost[rows, taken].mean()),
            )
            if not points or (point.quality, point.cost_usd) != (points[-1].quality, points[-1].cost_usd):
                points.append(point)
        return tuple(points)

    def _quality_of(self, row: int, way: Way) -> float:
        return float(self._quality[row, way.served]) if way.served != NOBODY else 0.0
