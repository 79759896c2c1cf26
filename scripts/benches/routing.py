"""Measures the routing score on real outcomes, beside plain baselines in the same folds; scores other folders.

scripts/bench routing [--data DIR] [--json] [--quick]            cross-validated figures, tables and goals
scripts/bench routing --data DIR --scores OUT.jsonl              the same, and each row's out-of-fold scores
scripts/bench routing --train DIR --test DIR --scores OUT.jsonl  train on one folder, score and decide another

What was tried and what it gave, the disappointing too, stands in ROUTING.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import routing_latency
import routing_report as report
import routing_scores
from rich.console import Console
from routing_regimes import SetScores, cross_validated
from routing_sets import PAIRS, Table, UnreadableSet, load
from routing_views import View, view
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
WITH_CURVE = ("mmlu", "mmlu_pro", "llmrouter_mix")
QUICK_ROWS = 600
ARTEFACT = ROOT / "orchestrator" / "core" / "artefacts" / "router.npz"

_tables: dict[str, Table] = {}
_views: dict[str, View] = {}
"""Shared with the forked processes, which would otherwise each read everything again."""


def main() -> int:
    asked = _arguments()
    threadpool_limits(1)  # one core per process: threads that share two busy cores only wait for each other
    notes, began_s = Console(stderr=True, highlight=False), time.monotonic()

    def say(words: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began_s:6.1f} s[/] {words}")

    try:
        if asked.train:
            lines = routing_scores.write(asked.train, asked.test, asked.scores, asked.cache, say)
            say(f"{lines} lines written to {asked.scores}")
            return 0
        return _measure(asked, say, began_s)
    except UnreadableSet as error:
        notes.print(f"[red]scripts/bench routing:[/] {error}")
        return 2


def _measure(asked: argparse.Namespace, say: Callable[[str], None], began_s: float) -> int:
    _tables.update(load(asked.data))
    if asked.quick:
        _tables.update({name: _smaller(table) for name, table in _tables.items()})
    for name, table in _tables.items():
        _views[name] = view(table, asked.cache, say)
    say(f"{sum(map(len, _tables.values()))} queries of {len(_tables)} sets read")
    found = _all_sets(asked.jobs, say)
    if asked.scores:
        _write_out_of_fold(asked.scores, found)
    sets = {name: report.figures(_tables[name], found[name]) for name in PAIRS if name in found}
    told = {"sets": sets, "goals": report.goals(sets), "mean_of_8": _means(sets), "quick": asked.quick}
    if ARTEFACT.exists():
        queries = [query for table in _tables.values() for query in table.queries]
        told["latency_ms"] = routing_latency.measure(queries, ARTEFACT, asked.cache)
        told["goals"] += report.latency_goals(told["latency_ms"])
    told["seconds"] = round(time.monotonic() - began_s)
    if asked.json:
        print(json.dumps(told))
    else:
        report.show(told, Console(width=max(180, Console().width)))
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


def _all_sets(jobs: int, say: Callable[[str], None]) -> dict[str, SetScores]:
    # Largest first, so that no process is left with it at the end. MT-Bench's 52 rows are a smoke test only.
    names = sorted(_tables, key=lambda name: -len(_tables[name]))
    found = {}
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for scores in pool.imap_unordered(_one_set, names):
            found[scores.name] = scores
            say(f"{scores.name} done")
    return found


def _one_set(name: str) -> SetScores:
    regimes = ("id", "id-1500", "ood", "lodo")
    return cross_validated(name, _tables, _views, curve=name in WITH_CURVE, regimes=regimes)


def _smaller(table: Table) -> Table:
    return table.take(np.random.default_rng(0).permutation(len(table))[:QUICK_ROWS])


def _means(sets: Mapping[str, Any]) -> dict[str, float | None]:
    told = {regime: report.mean_of_eight(sets, regime) for regime in ("id", "id-1500", "ood", "lodo")}
    names = next(iter(sets.values()))["baselines"]
    return told | {name: report.mean_of_eight(sets, "id", name) for name in names}


def _write_out_of_fold(out: Path, found: Mapping[str, SetScores]) -> None:
    with out.open("w", encoding="utf-8") as file:
        for name, scores in found.items():
            for regime, each in scores.regimes.items():
                for row, identity in enumerate(_tables[name].ids):
                    line = {
                        "id": identity,
                        "dataset": name,
                        "regime": regime,
                        "score": float(each.score[row]),
                        "score_after_answer": None if each.after_answer is None else float(each.after_answer[row]),
                        "score_after_agreement": (
                            None if each.after_agreement is None else float(each.after_agreement[row])
                        ),
                    }
                    file.write(json.dumps(line) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench routing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    cache = os.environ.get("PENNYROUTE_ROUTING_CACHE", str(Path.home() / ".cache" / "pennyroute" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--train", type=Path, help="folder to learn from")
    parser.add_argument("--test", type=Path, help="folder to score; may lack outcomes and subjects")
    parser.add_argument("--scores", type=Path, help="file to write, one JSON object per line")
    parser.add_argument("--cache", type=Path, default=Path(cache), help="folder for MiniLM vectors, by text hash")
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help=f"at most {QUICK_ROWS} queries of each set")
    parser.add_argument("--jobs", type=int, default=2, help="sets measured at once, one core each (default 2)")
    asked = parser.parse_args()
    if bool(asked.train) != bool(asked.test) or (asked.train and not asked.scores):
        parser.error("--train, --test and --scores belong together")
    for name in ("data", "train", "test"):
        folder = getattr(asked, name)
        if folder is not None and (folder / "dev").is_dir():
            setattr(asked, name, folder / "dev")
    return asked


if __name__ == "__main__":
    sys.exit(main())
