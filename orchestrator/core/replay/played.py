"""What came of a replay: per row the ways to answer it, over the rows its columns. Chooses and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.routing.asking import Seen
from orchestrator.core.types import Complexity, QualityScore
from registry.schema import Usage

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

NANOUSD_PER_USD = 10**9
ALWAYS_STRONG, NEVER_STRONG = 2.0, -2.0  # beyond every need: slacks and gains lie in [−1, 1]
NOBODY = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Sat:
    """A recorded row at the table: what is read off its text, and per seat its quality, its cost and its answer."""

    known: Seen
    quality: tuple[float, ...]
    cost_nanousd: tuple[int, ...]
    costed: tuple[str, ...]
    answers: tuple[str | None, ...]
    usage: tuple[Usage, ...]
    cluster: str
    grades: dict[tuple[float, ...], QualityScore]


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to answer a row: who is asked first, who is served (seats), what all of it costs."""

    need: float
    first: int
    served: int
    cost_nanousd: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What the policy did with one row. `refused` says why nobody was asked."""

    way: Way
    ways: tuple[Way, ...]
    margin: float
    complexity: Complexity | None
    by_contract: bool
    judged: bool
    refused: str | None = None


def refused(why: str) -> Played:
    """Nobody may answer the row."""
    nobody = Way(need=-inf, first=NOBODY, served=NOBODY, cost_nanousd=0)
    return Played(
        way=nobody,
        ways=(nobody,),
        margin=ALWAYS_STRONG,
        complexity=None,
        by_contract=False,
        judged=False,
        refused=why,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """One policy's replay as columns over the rows; `served` and `first` are seats, or NOBODY."""

    served: Indices
    first: Indices
    quality: Floats
    cost_usd: Floats
    margin: Floats
    ways: tuple[tuple[Way, ...], ...]
    refused: int
    judged: int
    by_contract: int
    escalated: int
    classes: Mapping[str, int]


def replay_of(sat: Sequence[Sat], played: Sequence[Played]) -> Replay:
    ways = [each.way for each in played]
    classes: dict[str, int] = {}
    for each in played:
        if each.complexity is not None:
            classes[each.complexity] = classes.get(each.complexity, 0) + 1
    return Replay(
        served=np.array([way.served for way in ways], dtype=np.intp),
        first=np.array([way.first for way in ways], dtype=np.intp),
        quality=np.array([_quality(row, way) for row, way in zip(sat, ways, strict=True)]),
        cost_usd=np.array([way.cost_nanousd for way in ways], dtype=np.float64) / NANOUSD_PER_USD,
        margin=np.array([each.margin for each in played]),
        ways=tuple(each.ways for each in played),
        refused=sum(each.refused is not None for each in played),
        judged=sum(each.judged for each in played),
        by_contract=sum(each.by_contract for each in played),
        escalated=sum(way.served != way.first for way in ways),
        classes=dict(sorted(classes.items())),
    )


def _quality(row: Sat, way: Way) -> float:
    return row.quality[way.served] if way.served != NOBODY else 0.0
