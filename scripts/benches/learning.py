"""What a deployment's own labels teach: APGR and certified savings before and after `contracts certify --learn`.

scripts/bench learning [--data DIR] [--json] [--quick]

For each set an artefact is trained without it (as the shipped one knows nothing of a deployment's traffic); then
labels of that set are drawn, `reading/learn.py` learns from them, and the rest of the set grades it. Then the promise:
from 1,500 labels a contract is certified with the artefact's score as it is on all of them, and with a score learned
from half of them on the other half; both are judged against the mean of the whole set.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import train_router
from routing_fit import weighted_words
from routing_sets import Floats, Indices, Table, UnreadableSet, load
from routing_views import word_counts
from threadpoolctl import threadpool_limits

from orchestrator.core.contract.certificate import State, certify
from orchestrator.core.reading import learn, lexical, predict
from orchestrator.core.replay import evaluate

ROOT = Path(__file__).resolve().parents[2]
SETS = ("mmlu", "mmlu_pro", "llmrouter_mix")
LABELS = (100, 300, 750, 1_500)
PROMISED_ON = 1_500
EPSILON, DELTA = 0.05, 0.1
PUBLISHED_MMLU = 0.603  # RouteLLM's best on MMLU, with Arena and gold labels
MOST_GRADED = 3_000


def without(tables: Mapping[str, Table], name: str) -> predict.Predictor:
    """The artefact of every set but this one, in the shipped format; vectors are not read here."""
    used = {key: table for key, table in tables.items() if key not in (name, "mtbench")}
    counts = word_counts([query for table in used.values() for query in table.queries], train_router.BUCKETS)
    found = np.bincount(counts.indices, minlength=train_router.BUCKETS)
    weights = np.where(found < 2, 0.0, np.log((1 + counts.shape[0]) / (1 + found)) + 1).astype(np.float16)
    signals = np.array([lexical.signals(query) for table in used.values() for query in table.queries])
    mean, deviation = signals.mean(axis=0), signals.std(axis=0) + 1e-6
    design = train_router.Design(
        words=weighted_words(counts, counts[:1])[0],
        signals=np.clip((signals - mean) / deviation, -4, 4),
        vectors=None,
    )
    fitted = train_router.fit(design, train_router.outcomes(used), np.arange(counts.shape[0]))
    arrays: dict[str, Any] = {"weights": weights, "mean": mean.astype("f4"), "deviation": deviation.astype("f4")}
    for head in ("fast", "full"):
        arrays |= train_router.packed(design, fitted, head)
    facts = {"format": predict.FORMAT, "signals": list(lexical.SIGNALS), "version": f"without {name}"}
    return predict.load(train_router.artefact(facts, arrays))


def draw(table: Table, n: int, seed: int) -> tuple[Indices, Indices]:
    """About n labels and the rows that grade them; queries of one split key lie on one side."""
    keys, at = np.unique(table.split_keys, return_inverse=True)
    place = np.random.default_rng(seed).permutation(len(keys))[at]
    order = np.argsort(place, kind="stable")
    rest = np.flatnonzero(place > place[order[n - 1]])
    if len(rest) > MOST_GRADED:
        rest = np.random.default_rng(seed).choice(rest, MOST_GRADED, replace=False)
    return order[:n], rest


def curve(table: Table, shipped: predict.Predictor, draws: int) -> list[dict[str, float]]:
    """Mean APGR on the rows left over, before and after, and the deviation of the difference over draws."""
    assert table.weak is not None
    assert table.strong is not None
    before = _gains(shipped, table, np.arange(len(table)))
    rows = []
    for n in LABELS:
        pairs = []
        for seed in range(draws):
            taught, rest = draw(table, n, seed)
            own = predict.load(learn.learned(shipped, _texts(table, taught), table.gain[taught]))
            weak, strong = table.weak[rest], table.strong[rest]
            after = evaluate.apgr(weak, strong, _gains(own, table, rest))
            pairs.append((evaluate.apgr(weak, strong, before[rest]), after))
        told = np.array(pairs)
        gained = told[:, 1] - told[:, 0]
        rows.append(
            {"labels": n, "before": told[:, 0].mean(), "after": told[:, 1].mean(), "deviation": gained.std(ddof=1)}
        )
    return rows


def promised(table: Table, shipped: predict.Predictor, draws: int) -> dict[str, dict[str, float]]:
    """Per way: certified share of draws, promises broken among all draws, mean share of calls saved."""
    before = _gains(shipped, table, np.arange(len(table))).round(6)
    told: dict[str, list[tuple[bool, bool, float]]] = {"as it is": [], "learned": []}
    for seed in range(draws):
        taught, _ = draw(table, PROMISED_ON, 1_000 + seed)
        told["as it is"].append(_kept(table, before, taught, None))
        first, second = taught[: PROMISED_ON // 2], taught[PROMISED_ON // 2 :]
        own = predict.load(learn.learned(shipped, _texts(table, first), table.gain[first]))
        scores = _gains(own, table, np.arange(len(table))).round(6)
        told["learned"].append(_kept(table, scores, second, own.grid))
    return {
        way: dict(zip(("certified", "broken", "saved"), np.array(rows, dtype=float).mean(axis=0), strict=True))
        for way, rows in told.items()
    }


def _kept(table: Table, scores: Floats, rows: Indices, grid: Floats | None) -> tuple[bool, bool, float]:
    """Whether a contract is met, whether its promise is false of the whole set, and the share it sends to the weak."""
    assert table.weak is not None
    assert table.strong is not None
    made = certify(scores[rows], table.weak[rows], table.strong[rows], epsilon=EPSILON, delta=DELTA, grid=grid)
    if made.state is not State.MET:
        return False, False, 0.0
    sent = scores < made.threshold
    served = np.where(sent, table.weak, table.strong).mean()
    return True, bool(served < (1 - EPSILON) * table.strong.mean()), float(sent.mean())


def _texts(table: Table, rows: Indices) -> list[str]:
    return [table.queries[row] for row in rows]


def _gains(predictor: predict.Predictor, table: Table, rows: Indices) -> Floats:
    return np.array([predictor.read(table.queries[row]).gain for row in rows], dtype=np.float64)


def main() -> int:
    asked = _arguments()
    threadpool_limits(1)
    try:
        tables = load(asked.data)
    except UnreadableSet as error:
        print(f"scripts/bench learning: {error}", file=sys.stderr)
        return 2
    began, found = time.perf_counter(), {}
    draws, promises = (3, 5) if asked.quick else (8, 30)
    for name in (each for each in SETS if each in tables):
        _say(f"{name}: an artefact without it, {draws} draws of labels each, {promises} promises")
        shipped = without(tables, name)
        found[name] = {
            "curve": curve(tables[name], shipped, draws),
            "promise": promised(tables[name], shipped, promises),
        }
    goals = _goals(found)
    if asked.json:
        print(json.dumps({"sets": found, "goals": goals, "took_s": round(time.perf_counter() - began, 1)}, indent=1))
    else:
        _show(found, goals)
    return 0 if all(goal["met"] for goal in goals) else 1


def _goals(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    goals = []
    if "mmlu" in found:
        after = next(row["after"] for row in found["mmlu"]["curve"] if row["labels"] == 300)
        goals.append(_goal("MMLU APGR after 300 labels", after, PUBLISHED_MMLU, after >= PUBLISHED_MMLU))
    for name, told in found.items():
        broken = told["promise"]["learned"]["broken"]
        goals.append(_goal(f"{name}: promises broken after learning", broken, DELTA, broken <= DELTA))
    return goals


def _goal(name: str, value: float, goal: float, met: bool) -> dict[str, Any]:
    return {"name": name, "value": round(float(value), 4), "goal": goal, "met": bool(met)}


def _show(found: Mapping[str, Any], goals: list[dict[str, Any]]) -> None:
    print("APGR of an artefact that never saw the set, before → after learning (± deviation of a draw's gain)")
    for name, told in found.items():
        cells = [
            f"{row['labels']:,} labels {row['before']:.3f} → {row['after']:.3f} ± {row['deviation']:.3f}"
            for row in told["curve"]
        ]
        print(f"  {name:<14} {' · '.join(cells)}")
    print(
        f"\nA promise of {1 - EPSILON:.0%} at {1 - DELTA:.0%} on {PROMISED_ON:,} labels: certified, broken, calls saved"
    )
    for name, told in found.items():
        for way, row in told["promise"].items():
            print(f"  {name:<14} {way:<9} {row['certified']:.0%} {row['broken']:.0%} {row['saved']:.1%}")
    print()
    for goal in goals:
        print(f"{'✓' if goal['met'] else '✗'} {goal['name']}: {goal['value']} (goal {goal['goal']})")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="few draws: to see that it runs")
    asked = parser.parse_args()
    if (asked.data / "dev").is_dir():
        asked.data = asked.data / "dev"
    return asked


if __name__ == "__main__":
    sys.exit(main())
