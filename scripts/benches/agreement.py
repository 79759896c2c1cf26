"""What contracts certify that read the answer: a cheap one alone, beside one more cheap model, beside two.

    scripts/bench agreement [--data DIR] [--splits N] [--json]

Half of a set's labels certify (drawn at random, seeded), the whole set judges whether the promise is kept, as in
`scripts/bench contracts`. The grade is the shipped judge's, as the service computes it; its dozen weights were fitted
on these sets, whose 9,684 labels they cannot memorise. `calls saved` are calls of the reference that were not made; the
cheap calls come on top."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import routing_sets as sets
from rich.console import Console
from rich.progress import track
from rich.table import Table as Grid
from routing_sets import LOCAL, Floats, Table

from orchestrator.adapters.artefacts import shipped_judge
from orchestrator.core.contract.certificate import certify
from orchestrator.core.quality.judge import Evidence, Judge
from orchestrator.core.types import Message, Reply, Request
from registry.schema import Task, Usage

PROMISES = ((0.02, 0.1), (0.05, 0.1), (0.05, 0.05))
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One set, one promise, one number of other answers: means over splits."""

    set: str
    n: int
    compared: int
    epsilon: float
    delta: float
    certified: float
    false: float
    """Splits, of all, in which a promise was certified that the whole set does not keep: at most delta."""
    saved: float
    hindsight: float
    """The most that any grade would have saved while keeping the promise on the whole set."""


def grades(judge: Judge, table: Table, compared: int) -> Floats:
    """The service's grade of each weak answer beside the final answers of `compared` other models."""
    others = [table.local_preds[model] for model in LOCAL[table.name][1 : 1 + compared]] if table.local_preds else []
    found = []
    for number, (query, answer) in enumerate(zip(table.queries, table.weak_answers or (), strict=True)):
        request = Request(id=UUID(int=number), task=Task.GENERATE, messages=(Message(role="user", content=query),))
        said = [preds[number] for preds in others if preds[number]]
        earlier = tuple(Reply(usage=Usage(), text=f"The answer is {each}.") for each in said)
        found.append(judge(request, Reply(usage=Usage(), text=answer), Evidence(earlier=earlier)).value)
    return np.array(found)


def measured(table: Table, compared: int, splits: int, seed: int, judge: Judge) -> Iterator[Row]:
    assert table.weak is not None
    assert table.strong is not None
    score, weak, strong = -grades(judge, table, compared), table.weak, table.strong
    for epsilon, delta in PROMISES:
        saved, certified, false = [], [], []
        for split in range(splits):
            half = np.random.default_rng((seed, split)).permutation(len(score))[: len(score) // 2]
            found = certify(score[half], weak[half], strong[half], epsilon=epsilon, delta=delta)
            sent = score < found.threshold
            saved.append(float(sent.mean()))
            certified.append(bool(sent.any()))
            false.append(bool(np.where(sent, weak, strong).mean() < (1 - epsilon) * strong.mean()))
        yield Row(
            set=table.name,
            n=len(score),
            compared=compared,
            epsilon=epsilon,
            delta=delta,
            certified=float(np.mean(certified)),
            false=float(np.mean(false)),
            saved=float(np.mean(saved)),
            hindsight=_hindsight(score, weak, strong, epsilon),
        )


def _hindsight(score: Floats, weak: Floats, strong: Floats, epsilon: float) -> float:
    best = 0.0
    for threshold in np.unique(score):
        sent = score <= threshold
        if np.where(sent, weak, strong).mean() >= (1 - epsilon) * strong.mean():
            best = max(best, float(sent.mean()))
    return best


def show(rows: Sequence[Row], console: Console) -> None:
    grid = Grid("set", "n", "beside", "ε, δ", "certified", "falsely", "calls saved", "best in hindsight")
    for row in rows:
        promise = f"{row.epsilon:g}, {row.delta:g}"
        figures = (f"{row.certified:.0%}", f"{row.false:.1%}", f"{row.saved:.1%}", f"{row.hindsight:.1%}")
        grid.add_row(row.set, f"{row.n:,}", str(row.compared), promise, *figures)
    console.print(grid)


def goals(rows: Sequence[Row]) -> list[dict[str, object]]:
    worst = max(row.false - row.delta for row in rows)
    return [{"name": "false_certificates_beyond_delta", "value": round(worst, 4), "goal": 0.0, "met": worst <= 0}]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench agreement", description=__doc__)
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON object with rows and goals")
    asked = parser.parse_args()
    try:
        folder = asked.data / "dev" if (asked.data / "dev").is_dir() else asked.data
        tables = {name: table for name, table in sets.load(folder).items() if table.weak_answers}
    except sets.UnreadableSet as error:
        print(error, file=sys.stderr)
        return 2
    judge = shipped_judge()
    plan = [(table, n) for table in tables.values() for n in range(min(2, len(LOCAL.get(table.name, "x")) - 1) + 1)]
    quiet = Console(stderr=True, quiet=asked.json)
    rows = [
        row
        for table, compared in track(plan, "sets × other models", console=quiet)
        for row in measured(table, compared, asked.splits, asked.seed, judge)
    ]
    told = {"bench": "agreement", "splits": asked.splits, "rows": [asdict(row) for row in rows], "goals": goals(rows)}
    if asked.json:
        print(json.dumps(told))
    else:
        show(rows, Console(width=120))
        for goal in goals(rows):
            print(f"{'met' if goal['met'] else 'missed'}: {goal['name']} is {goal['value']}, goal {goal['goal']}")
    return 0 if all(goal["met"] for goal in goals(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
