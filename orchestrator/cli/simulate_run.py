"""Replays rows through policies and grades them, with a progress bar; what came out is `Shown`. Draws nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orchestrator.cli.simulate_files import Named, Source
from orchestrator.core.replay.played import Replay, Sat, replay_of
from orchestrator.core.replay.seats import complete, means, seating
from orchestrator.core.replay.simulate import Difference, Figures, Ground, Simulation
from orchestrator.core.replay.table import Table
from orchestrator.settings import load

T = TypeVar("T")
_MANY_ROWS = 500


class Each(Protocol):
    def __call__(self, items: Sequence[T], words: str) -> Iterable[T]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the caller says of the rows: who stands for whom, which ends, whose dollars."""

    cards: Mapping[str, str]
    weak: str | None = None
    strong: str | None = None
    recorded_costs: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Everything a table, a chart or a machine may want to know. `worked_s` is processor time of the replay."""

    source: Source
    ground: Ground
    simulations: tuple[Simulation, ...]
    versions: tuple[str, ...]
    against_best: tuple[Difference, ...]
    differences: tuple[Difference, ...]
    baselines: tuple[Figures, ...]
    costed: Mapping[str, int]
    trained_on: Sequence[str]
    choices: int
    took_s: float
    worked_s: float
    seed: int


def simulate(source: Source, policies: Sequence[Named], given: Given, database_url: str | None = None) -> Shown:
    """The whole replay. Raises InvalidInput, and ConfigError or NotFound where a policy's artefact cannot be had."""
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    registry = wiring.open_registry(load())
    seats = seating(means(source.rows), registry, told=given.cards, weak=given.weak, strong=given.strong)
    rows = complete(source.rows, seats.names)
    _, judge = wiring.shipped()
    table = Table(seats, registry, judge, datetime.now(UTC), recorded_costs=given.recorded_costs)
    predictors = [asyncio.run(wiring.predictor_of(named.policy, database_url)) for named in policies]
    began_s, worked_s = time.perf_counter(), time.process_time()
    sat: dict[str, list[Sat]] = {}
    replays: list[Replay] = []
    with _progress(len(rows)) as each:
        for named, predictor in zip(policies, predictors, strict=True):
            if predictor.version not in sat:
                sat[predictor.version] = [table.sit(row, predictor) for row in each(rows, "reading")]
            read = sat[predictor.version]
            replays.append(replay_of(read, [table.play(row, named.policy) for row in each(read, named.name)]))
    took_s, worked_s = time.perf_counter() - began_s, time.process_time() - worked_s
    read = sat[predictors[0].version]
    ground = Ground(read, seats, seed=given.seed)
    played = [(named.name, replay) for named, replay in zip(policies, replays, strict=True)]
    first = played[0]
    return Shown(
        source=source,
        ground=ground,
        simulations=tuple(ground.simulate(name, replay) for name, replay in played),
        versions=tuple(named.policy.version for named in policies),
        against_best=tuple(ground.against_best(name, replay) for name, replay in played),
        differences=tuple(ground.difference(*first, name, replay) for name, replay in played[1:]),
        baselines=ground.baselines(),
        costed=Counter(how for row in read for how in row.costed),
        trained_on=wiring.seen_in_training(row.dataset for row in rows if row.dataset),
        choices=len(rows) * len(policies),
        took_s=took_s,
        worked_s=worked_s,
        seed=given.seed,
    )


@contextmanager
def _progress(rows: int) -> Iterator[Each]:
    """`each(items, words)` yields the items; over 500 rows a bar on standard error goes along."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True, disable=rows <= _MANY_ROWS)
    with progress:

        def each(items: Sequence[T], words: str) -> Iterable[T]:
            return progress.track(items, total=rows, description=words)

        yield each
