"""Measures the routing score on real outcomes, beside plain baselines in the same folds; scores other folders.

scripts/bench routing [--data DIR] [--json] [--quick]            cross-validated figures, tables and goals
scripts/bench routing --write [--check README.md]                also docs/routing-table.md and the figures
scripts/bench routing --check README.md                          fails where README's table differs from this run's
scripts/bench routing --data DIR --scores OUT.jsonl              the same, and each row's out-of-fold scores
scripts/bench routing --train DIR --test DIR --scores OUT.jsonl  train on one folder, score and decide another

What was tried and what it gave, the disappointing too, stands in ROUTING.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import routing_calibration as calibration
import routing_latency
import routing_report as report
import routing_scores
import routing_tables as tables_of
from rich.console import Console
from routing_oof import keep
from routing_regimes import SetScores, cross_validated
from routing_sets import PAIRS, Floats, Table, UnreadableSet, load
from routing_views import View, views
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
WITH_CURVE = ("mmlu", "mmlu_pro", "llmrouter_mix")
QUICK_ROWS = 600
ARTEFACT = ROOT / "orchestrator" / "core" / "artefacts" / "router.npz"
PAGE, FIGURES = ROOT / "docs" / "routing-table.md", ROOT / "docs" / "figures"
SMOKE = ("mtbench",)
"""52 rows with grades from 1 to 10: a smoke test only, in no pooled figure."""

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
            lines = routing_scores.write(asked.train, asked.test, asked.scores, asked.cache, say, asked.jobs)
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
    say(f"{sum(map(len, _tables.values())):,} queries of {len(_tables)} sets read")
    _views.update(views(_tables, asked.cache, say, asked.jobs))
    say("words, vectors and signals of all queries and answers ready")
    found, sets = _all_sets(asked.jobs, say)
    if not asked.quick:
        keep({name: scores.regimes["id"].score for name, scores in found.items()}, _tables, asked.cache)
    if asked.scores:
        _write_out_of_fold(asked.scores, found)
    maps = _recalibrated(found)
    errors = calibration.errors(_tables, maps)
    told: dict[str, Any] = {"sets": sets, "mean_of_8": report.means(sets), "calibration": errors, "quick": asked.quick}
    told["goals"] = report.goals(sets, errors)
    if ARTEFACT.exists():
        queries = [query for table in _tables.values() for query in table.queries]
        told["latency_ms"] = routing_latency.measure(queries, ARTEFACT, asked.cache)
        told["goals"] += report.latency_goals(told["latency_ms"])
    told |= {"seconds": round(time.monotonic() - began_s), "cpu_seconds": _processor_s()}
    if asked.json:
        print(json.dumps(told))
    else:
        tables_of.show(told, Console(width=max(200, Console().width)))
    if asked.write:
        _write(told, found, maps, say)
    agrees = asked.check is None or _agrees(asked.check, told)
    return 0 if agrees and all(goal["met"] for goal in told["goals"]) else 1


def _processor_s() -> int:
    """Of this process and those it has waited for, the first start's included; in whole seconds."""
    used = [resource.getrusage(whom) for whom in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(each.ru_utime + each.ru_stime for each in used))


def _all_sets(jobs: int, say: Callable[[str], None]) -> tuple[dict[str, SetScores], dict[str, Any]]:
    # Longest first, so that no process is left with it at the end: reading answers is most of the work.
    names = sorted(_tables, key=lambda name: -len(_tables[name]) * (1 if _tables[name].weak_answers is None else 4))
    found: dict[str, SetScores] = {}
    sets: dict[str, Any] = {}
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for done, (scores, figures) in enumerate(pool.imap_unordered(_one_set, names), 1):
            found[scores.name] = scores
            sets |= figures
            say(f"{scores.name} measured ({done} of {len(names)} sets)")
    order = [name for name in (*PAIRS, report.OFFICIAL) if name in sets]
    return {name: found[name] for name in PAIRS if name in found}, {name: sets[name] for name in order}


def _one_set(name: str) -> tuple[SetScores, dict[str, Any]]:
    found = cross_validated(name, _tables, _views, curve=name in WITH_CURVE, regimes=report.REGIMES)
    figures = {name: report.figures(_tables[name], found)}
    if name == "gsm8k":
        figures[report.OFFICIAL] = report.official(_tables[name], found)
    return found, figures


def _recalibrated(found: Mapping[str, SetScores]) -> dict[str, dict[str, dict[str, Floats]]]:
    maps = {}
    for name, scores in found.items():
        told = scores.regimes["id"]
        if name not in SMOKE and told.weak is not None:
            maps[name] = calibration.recalibrated(_tables[name], told.score, told.weak)
    return maps


def _write(told: Mapping[str, Any], found: Mapping[str, SetScores], maps: Any, say: Callable[[str], None]) -> None:
    import routing_plots  # noqa: PLC0415 - matplotlib takes a second to load, and only --write draws

    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(tables_of.page(told), encoding="utf-8")
    routing_plots.curves(_tables, found, told["sets"], FIGURES / "routing-curves.png")
    large = [name for name in maps if len(_tables[name]) > report.LARGE]
    file = FIGURES / "routing-reliability.png"
    routing_plots.reliabilities(_tables, maps, report.MAPS, told["calibration"], large, file)
    say(f"{PAGE.relative_to(ROOT)} and two figures in {FIGURES.relative_to(ROOT)} written")


def _agrees(written: Path, told: Mapping[str, Any]) -> bool:
    differing = tables_of.differences(written, told)
    for line in differing:
        print(line, file=sys.stderr)
    if differing:
        print(f"{written} differs from this run: put docs/routing-table.md into it (--write)", file=sys.stderr)
    return not differing


def _smaller(table: Table) -> Table:
    return table.take(np.random.default_rng(0).permutation(len(table))[:QUICK_ROWS])


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
    parser.add_argument("--write", action="store_true", help="write docs/routing-table.md and docs/figures/routing-*")
    parser.add_argument("--check", type=Path, metavar="FILE", help="fail where the table in FILE is not this run's")
    parser.add_argument("--jobs", type=int, default=2, help="sets measured at once, one core each (default 2)")
    asked = parser.parse_args()
    if asked.quick and (asked.write or asked.check):
        parser.error("--quick measures too few queries to be written or checked")
    if bool(asked.train) != bool(asked.test) or (asked.train and not asked.scores):
        parser.error("--train, --test and --scores belong together")
    for name in ("data", "train", "test"):
        folder = getattr(asked, name)
        if folder is not None and (folder / "dev").is_dir():
            setattr(asked, name, folder / "dev")
    return asked


if __name__ == "__main__":
    sys.exit(main())
