"""How far the artefact may be trusted on text unlike its training sets: trained without a set, it reads that set.

scripts/bench routing_trust [--data DIR] [--cache DIR] [--json]

Fitted over all sets together, each read by an artefact that has not seen it (`lodo`), nor its siblings and the mixtures
(`ood`): logit P(weak model right) = ability + t × ease + c0 + c1 × difficulty, where ability is the log-odds of the
model's mean in that set, ease is the artefact's reading and difficulty is `score.difficulty` of a request with that one
user message. Every set weighs the same. Intervals: resampling whole sets, for a new kind of text is a new set.
`known elsewhere` is the same over every model that other sets know too, its ability being the mean of its log-odds
there, as a card's quality prior would have it: c0 and its interval then hold what a new kind of text does to a model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from routing_sets import Floats, Table, UnreadableSet, load, related
from routing_views import View, views
from threadpoolctl import threadpool_limits
from train_router import artefact, designs, fit, outcomes, packed

from orchestrator.core.reading import features, lexical, predict
from orchestrator.core.replay import evaluate
from orchestrator.core.routing import score
from orchestrator.core.types import Message, Request
from registry.schema import Task

ROOT = Path(__file__).resolve().parents[2]
REGIMES = ("lodo", "ood")
TERMS = ("t", "c0", "c1")
REPLICATES, STEPS, LEAST_ROWS = 200, 6, 100
MOST_ROWS = 1000  # of one set in a fit over every model: sets weigh the same, so more rows of one tell little more


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """One set as an artefact that has not seen it reads it."""

    name: str
    ability: float
    ease: Floats
    difficulty: Floats
    weak: Floats
    elsewhere: tuple[tuple[float, Floats], ...]
    """Of each model that the sources know: its ability there, and its outcomes here."""

    @property
    def design(self) -> Floats:
        return np.stack([self.ease, np.ones(len(self.ease)), self.difficulty], axis=1)

    def asked(self, elsewhere: bool) -> tuple[tuple[float, Floats], ...]:
        return self.elsewhere if elsewhere else ((self.ability, self.weak),)

    def sampled(self, count: int) -> Held:
        """At most `count` rows, drawn at random."""
        rows = np.random.default_rng(0).permutation(len(self.ease))[:count]
        return replace(
            self,
            ease=self.ease[rows],
            difficulty=self.difficulty[rows],
            weak=self.weak[rows],
            elsewhere=tuple((able, outcomes_here[rows]) for able, outcomes_here in self.elsewhere),
        )


def difficulty(table: Table) -> Floats:
    requests = (
        Request(id=UUID(int=0), task=Task.GENERATE, messages=(Message(role="user", content=query),))
        for query in table.queries
    )
    return np.array([score.difficulty(features.read(request)) for request in requests])


def ease(table: Table, sources: Mapping[str, Table], views: Mapping[str, View]) -> Floats:
    """What an artefact trained on `sources`, packed as the shipped one is, reads of each query without a vector."""
    fast, _, arrays = designs(sources, views)
    known = outcomes(sources)
    weights = fit(fast, known, np.arange(fast.words.shape[0]))
    arrays = dict(arrays) | packed(fast, weights, "fast") | packed(fast, weights, "full")
    facts = {"format": predict.FORMAT, "signals": list(lexical.SIGNALS), "version": "held out"}
    router = predict.load(artefact(facts, arrays))
    return np.array([router.read(query).ease for query in table.queries])


def held_out(regime: str, tables: Mapping[str, Table], views: Mapping[str, View]) -> list[Held]:
    """Each set read by an artefact that has seen neither it nor a question of it (GSM8K is in two sets)."""
    found = []
    for name, table in tables.items():
        barred, keys = related(name) if regime == "ood" else {name}, set(table.split_keys)
        rows = {
            each: np.flatnonzero([key not in keys for key in one.split_keys])
            for each, one in tables.items()
            if each not in barred
        }
        rows = {each: kept for each, kept in rows.items() if len(kept) >= LEAST_ROWS}
        sources = {each: tables[each].take(kept) for each, kept in rows.items()}
        seen = {each: views[each].take(kept) for each, kept in rows.items()}
        assert table.weak is not None
        found.append(
            Held(
                name=name,
                ability=_log_odds(table.weak),
                ease=ease(table, sources, seen),
                difficulty=difficulty(table),
                weak=table.weak,
                elsewhere=_elsewhere(table, sources),
            )
        )
    return found


def _elsewhere(table: Table, sources: Mapping[str, Table]) -> tuple[tuple[float, Floats], ...]:
    found = []
    for model, outcomes_here in (table.models or {}).items():
        there = [_log_odds(one.models[model]) for one in sources.values() if one.models and model in one.models]
        if there and np.isfinite(outcomes_here).all():
            found.append((float(np.mean(there)), outcomes_here))
    return tuple(found)


def _log_odds(outcomes_: Floats) -> float:
    return predict.ability(float(np.nanmean(outcomes_)))


def fitted(sets: list[Held], terms: tuple[int, ...] = (0, 1, 2), elsewhere: bool = False) -> Floats:
    """Coefficients of the terms asked for, the others 0: Newton on the logistic loss, each set weighing the same."""
    parts = [
        (held.design[:, terms], *one, 1 / len(held.asked(elsewhere))) for held in sets for one in held.asked(elsewhere)
    ]
    design = np.concatenate([part[0] for part in parts])
    offset = np.concatenate([np.full(len(part[2]), part[1]) for part in parts])
    right = np.concatenate([part[2] for part in parts])
    weight = np.concatenate([np.full(len(part[2]), part[3] / len(part[2])) for part in parts])
    at = np.zeros(len(terms))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(offset + design @ at)))
        slope = design.T @ (weight * (right - p))
        curve = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(len(terms))
        at = at + np.linalg.solve(curve, slope)
    whole = np.zeros(len(TERMS))
    whole[list(terms)] = at
    return whole


def told(sets: list[Held], terms: tuple[int, ...], elsewhere: bool = False) -> dict[str, Any]:
    sets = [held.sampled(MOST_ROWS) if elsewhere else held for held in sets if held.asked(elsewhere)]
    dice = np.random.default_rng(0)
    draws = [
        fitted([sets[row] for row in dice.integers(0, len(sets), len(sets))], terms, elsewhere)
        for _ in range(REPLICATES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    value = fitted(sets, terms, elsewhere)
    found: dict[str, Any] = {
        name: {"value": float(value[i]), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(TERMS)
        if i in terms
    }
    return found | {"sets": len(sets), "loss_saved": _saved(sets, terms, elsewhere)}


def _saved(sets: list[Held], terms: tuple[int, ...], elsewhere: bool) -> float:
    """Log-loss (nats per query) below that of the ability alone, each set judged by a fit on the others."""
    saved = []
    for row, held in enumerate(sets):
        moved = held.design @ fitted(sets[:row] + sets[row + 1 :], terms, elsewhere)
        saved += [_loss(np.full(len(y), able), y) - _loss(able + moved, y) for able, y in held.asked(elsewhere)]
    return float(np.mean(saved))


def _loss(odds: Floats, right: Floats) -> float:
    return float((np.logaddexp(0, odds) - right * odds).mean())


def one_set(held: Held) -> dict[str, Any]:
    """The same in one set alone, and how well ease and difficulty order its queries."""
    value = fitted([held])
    return {
        "n": len(held.weak),
        "ability": held.ability,
        "t": float(value[0]),
        "t_without_difficulty": float(fitted([held], (0, 1))[0]),
        "c1": float(value[2]),
        "auroc_ease": evaluate.auroc(held.weak > 0.5, held.ease),
        "auroc_easy": evaluate.auroc(held.weak > 0.5, -held.difficulty),
        "ease_mean": float(held.ease.mean()),
        "ease_deviation": float(held.ease.std()),
        "difficulty_mean": float(held.difficulty.mean()),
    }


def main() -> int:
    asked = _arguments()
    threadpool_limits(1)
    try:
        tables = load(asked.data / "dev" if (asked.data / "dev").is_dir() else asked.data)
    except UnreadableSet as error:
        print(f"scripts/bench routing_trust: {error}", file=sys.stderr)
        return 2
    tables.pop("mtbench", None)  # graded from 1 to 10: no share of right answers
    read = views(tables, asked.cache)
    answer: dict[str, Any] = {}
    for regime in REGIMES:
        sets = held_out(regime, tables, read)
        answer[regime] = {
            "all": told(sets, (0, 1, 2)),
            "ease alone": told(sets, (0, 1)),
            "difficulty alone": told(sets, (1, 2)),
            "known elsewhere": told(sets, (0, 1, 2), elsewhere=True),
            "known elsewhere, ease alone": told(sets, (0, 1), elsewhere=True),
            "sets": {held.name: one_set(held) for held in sets},
        }
        if not asked.json:
            _show(regime, answer[regime])
    if asked.json:
        print(json.dumps(answer))
    return 0


def _show(regime: str, figures: Mapping[str, Any]) -> None:
    for name in (each for each in figures if each != "sets"):
        cells = ", ".join(
            f"{term} {figures[name][term]['value']:+.2f} ({figures[name][term]['low']:+.2f} to "
            f"{figures[name][term]['high']:+.2f})"
            for term in TERMS
            if term in figures[name]
        )
        print(f"{regime}, {name}, {figures[name]['sets']} sets: {cells}")
        print(f"    log-loss saved {figures[name]['loss_saved']:+.4f}")
    for name, each in figures["sets"].items():
        print(f"  {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in each.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench routing_trust", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("PENNYROUTE_ROUTING_DATA", str(ROOT.parent / "shared" / "routing"))
    cache = os.environ.get("PENNYROUTE_ROUTING_CACHE", str(Path.home() / ".cache" / "pennyroute" / "routing"))
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the sets, or of their dev/")
    parser.add_argument("--cache", type=Path, default=Path(cache), help="folder for MiniLM vectors, by text hash")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
