"""How well the decisions of `bench routing --train --test` keep their promises on held-out fifths, and what they lose.

scripts/bench routing_held_out [--data DIR] [--seeds N] [--sets a,b] [--json]

Per seed a fifth of each set (whole split keys) is held out; all other labels, or 1,500 of them, fit and certify. The
promise is about the task class; a fifth is a sample of it, so even a promise that is kept is missed on some fifths:
"kept" is by the fifth's own mean, "wider" by all rows that no label was used of, which are more with 1,500 labels.
"Lost" is in points of calls below the best threshold in hindsight on the fifth, on the score of the router fitted on
all labels. A decision that certifies nothing is neither kept nor broken; it saves nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from routing_regimes import FEW, before_call, few
from routing_scores import decisions
from routing_sets import Floats, Indices, Table, UnreadableSet, load
from routing_views import View, views
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
PROMISES = ("0.02,0.1", "0.05,0.1", "0.05,0.05")
SEED, LARGE = 7, 2000


def fifth(table: Table, seed: int) -> tuple[Indices, Indices]:
    """(labelled rows, held-out rows)."""
    keys, at = np.unique(table.split_keys, return_inverse=True)
    held = (np.random.default_rng([SEED, seed]).permutation(len(keys)) < 0.2 * len(keys))[at]
    return np.flatnonzero(~held), np.flatnonzero(held)


def one_seed(table: Table, view: View, seed: int) -> Iterator[dict[str, Any]]:
    known, held = fifth(table, seed)
    for regime in ("id", "id-1500"):
        rows = known
        if regime == "id-1500":
            if len(known) <= FEW:
                continue
            rows = known[few(table.take(known), FEW)]
        others = np.setdiff1d(np.arange(len(table)), rows)
        order = np.concatenate([held, np.setdiff1d(others, held)])  # the fifth first, then the rest without labels
        asked, judged = view.take(order), table.take(order)
        labelled, seen = table.take(rows), view.take(rows)
        chosen = decisions(labelled, seen, asked, judged.queries)
        score = before_call(labelled, seen, asked.take(np.arange(len(held))))
        for promise in PROMISES:
            told = {"set": table.name, "n": len(table), "regime": regime, "seed": seed, "promise": promise}
            weak = np.array(chosen[promise]) == "weak"
            yield told | _judged(judged, weak, score, float(promise.split(",")[0]))


def _judged(table: Table, weak: Any, score: Floats, epsilon: float) -> dict[str, Any]:
    """The first rows, as many as `score` has, are the fifth."""
    assert table.weak is not None
    assert table.strong is not None
    margin, count = np.where(weak, table.weak, table.strong) - (1 - epsilon) * table.strong, len(score)
    share = float(weak[:count].mean())
    return {
        "share": share,
        "certified": share > 0,
        "kept": bool(margin[:count].mean() >= -1e-12),
        "wider": bool(margin.mean() >= -1e-12),
        "lost": 100 * (_best(table, score, epsilon) - share),
    }


def _best(table: Table, score: Floats, epsilon: float) -> float:
    """The largest share that the weak model may answer, by this score, on these very rows."""
    assert table.weak is not None
    assert table.strong is not None
    weak, strong = table.weak[: len(score)], table.strong[: len(score)]
    order = np.argsort(score, kind="stable")
    room = epsilon * strong.sum() + np.concatenate([[0.0], np.cumsum((weak - strong)[order])])
    return float(np.flatnonzero(room >= 0).max()) / len(score)


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By regime and promise over large sets, over small ones, over all; and by set."""
    told = []
    names = dict.fromkeys(row["set"] for row in rows)
    groups = {"all sets": set(names), f"n > {LARGE:,}": {row["set"] for row in rows if row["n"] > LARGE}}
    groups |= {name: {name} for name in names}
    for name, members in groups.items():
        for regime in ("id", "id-1500"):
            for promise in ("any", *(PROMISES if len(members) > 1 else ())):
                part = [row for row in rows if row["set"] in members and row["regime"] == regime]
                part = [row for row in part if promise in ("any", row["promise"])]
                if part:
                    told.append({"of": name, "regime": regime, "promise": promise} | _told(part))
    return told


def _told(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    certified = [row for row in rows if row["certified"]]
    return {
        "decided": len(rows),
        "certified": len(certified),
        "kept": float(np.mean([row["kept"] for row in certified])) if certified else None,
        "wider": float(np.mean([row["wider"] for row in certified])) if certified else None,
        "lost": float(np.mean([row["lost"] for row in rows])),
        "lost_median": float(np.median([row["lost"] for row in rows])),
    }


def main() -> int:
    asked = _arguments()
    threadpool_limits(1)
    began_s = time.monotonic()
    try:
        tables = load(asked.data / "dev" if (asked.data / "dev").is_dir() else asked.data)
    except UnreadableSet as error:
        print(f"scripts/bench routing_held_out: {error}", file=sys.stderr)
        return 2
    tables.pop("mtbench", None)
    tables = {name: table for name, table in tables.items() if not asked.sets or name in asked.sets.split(",")}
    read = views(tables, asked.cache)
    rows: list[dict[str, Any]] = []
    for name, table in tables.items():
        for seed in range(asked.seeds):
            rows += one_seed(table, read[name].before_answer(), seed)
        print(f"{time.monotonic() - began_s:6.0f} s  {name} done", file=sys.stderr)
    told = summary(rows)
    if asked.json:
        print(json.dumps({"rows": rows, "summary": told}))
    else:
        _show(told)
    return 0


def _show(told: Sequence[dict[str, Any]]) -> None:
    print("| of | regime | ε, δ | certified | kept on the fifth | on all unlabelled | lost (median) |")
    print("|---|---|---|---|---|---|---|")
    for row in told:
        kept, wider = ("" if row[name] is None else f"{row[name]:.1%}" for name in ("kept", "wider"))
        print(
            f"| {row['of']} | {row['regime']} | {row['promise']} | {row['certified']} of {row['decided']} | {kept} "
            f"| {wider} | {row['lost']:.1f} ({row['lost_median']:.1f}) |"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench routing_held_out", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    cache = os.environ.get("PENNYROUTE_ROUTING_CACHE", str(Path.home() / ".cache" / "pennyroute" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--cache", type=Path, default=Path(cache), help="folder for MiniLM vectors, by text hash")
    parser.add_argument("--seeds", type=int, default=5, help="fifths per set (default 5)")
    parser.add_argument("--sets", help="only these, comma between")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
