"""Turns out-of-fold scores into figures with intervals and into goals; learns nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from routing_intervals import figures as with_intervals
from routing_regimes import SetScores
from routing_sets import MEAN_OF, Floats, Indices, Table

from orchestrator.core.replay import evaluate

REPLICATES = 300
REGIMES = ("id", "id-1500", "ood", "lodo")
STAGES = {"score": "", "after_answer": " + weak answer", "after_agreement": " + agreement"}
OFFICIAL = "gsm8k:official"
PUBLISHED = {"mmlu": 0.603, OFFICIAL: 0.622}
"""RouteLLM's best APGR (Ong et al. 2024, arXiv 2406.18665), as the sets' README quotes it."""
MEASURED = {
    "mmlu": 0.706,
    "gsm8k": 0.549,
    OFFICIAL: 0.640,
    "mmlu_pro": 0.579,
    "ze_gsm": 0.552,
    "ze_math_l5": 0.553,
    "ze_crux": 0.572,
    "llmrouter_mix": 0.699,
    "routerarena": 0.657,
}
"""Plain ensembles as the sets' README has them, on its held-out part: near these, not in the same folds."""

GOALS = (
    ("mean of 8, in-domain", "mean", "id", "score", 0.65),
    ("mean of 8, out of domain", "mean", "ood", "score", 0.56),
    ("mmlu, all labels", "mmlu", "id", "score", 0.75),
    ("mmlu, 1,500 labels", "mmlu", "id-1500", "score", 0.69),
    ("mmlu, none in-domain", "mmlu", "ood", "score", 0.60),
    ("gsm8k repaired, query only", "gsm8k", "id", "score", 0.61),
    ("gsm8k repaired, weak answer read", "gsm8k", "id", "after_answer", 0.78),
    ("gsm8k official, query only", OFFICIAL, "id", "score", 0.68),
    ("gsm8k official, weak answer read", OFFICIAL, "id", "after_answer", 0.82),
    ("mmlu_pro, query only", "mmlu_pro", "id", "score", 0.62),
    ("mmlu_pro, weak answer read", "mmlu_pro", "id", "after_answer", 0.66),
    ("mmlu_pro, agreement of two more", "mmlu_pro", "id", "after_agreement", 0.74),
    ("llmrouter_mix", "llmrouter_mix", "id", "score", 0.77),
    ("routerarena", "routerarena", "id", "score", 0.71),
)
FEW_GOAL = ("mmlu, 300 labels", "mmlu", 300, 0.603)
CALIBRATION_GOAL, LARGE = 0.03, 2000
MAPS = {"gain": "isotonic", "weak": "isotonic"}
"""The map whose error is held to the goal."""


def figures(table: Table, found: SetScores) -> dict[str, Any]:
    """All figures of one set: by regime and stage, the baselines, the learning curve, what knowing the weak model's
    correctness would give."""
    draws = np.random.default_rng(0).integers(0, len(table), (REPLICATES, len(table)))
    assert table.weak is not None
    assert table.strong is not None
    told: dict[str, Any] = {
        "n": len(table),
        "weak": float(table.weak.mean()),
        "strong": float(table.strong.mean()),
        "regimes": {
            regime: {stage: _graded(table, getattr(scores, stage), draws) for stage in STAGES if _given(scores, stage)}
            for regime, scores in found.regimes.items()
        },
        "baselines": {name: with_intervals(table, values, draws) for name, values in found.baselines.items()},
        "curve": {size: with_intervals(table, values, draws)["apgr"] for size, values in found.curve.items()},
    }
    if (scores := found.regimes.get("id")) is not None and scores.after_answer is not None:
        knows = -table.weak + 1e-3 * scores.score
        told["ceiling_weak_known"] = with_intervals(table, knows, draws)["apgr"]
    return told


def official(table: Table, found: SetScores) -> dict[str, Any]:
    """The figures of the same scores by GSM8K's labels before its grader was repaired."""
    assert table.official is not None
    weak, strong = table.official
    regraded = replace(table, weak=weak, strong=strong)
    known = strong - weak
    return figures(regraded, replace(found, baselines=dict(found.baselines) | {"oracle": known}, curve={}))


def _given(scores: Any, stage: str) -> bool:
    return getattr(scores, stage) is not None


def _graded(table: Table, scores: Floats, draws: Indices) -> dict[str, Any]:
    assert table.weak is not None
    assert table.strong is not None
    told: dict[str, Any] = dict(with_intervals(table, scores, draws))
    told["apgr_11_thresholds"] = evaluate.apgr_routellm(table.weak, table.strong, scores)
    told["regret_at_half"] = evaluate.regret(table.weak, table.strong, scores, 0.5)
    return told


def goals(sets: Mapping[str, Any], calibration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """name, value, goal, met; a figure that was not measured has value None and is not met."""
    rows = []
    for name, of, regime, stage, goal in GOALS:
        value = mean_of_eight(sets, regime) if of == "mean" else _value(sets, of, regime, stage)
        rows.append(_goal(name, value, goal))
    name, of, size, goal = FEW_GOAL
    rows.append(_goal(name, sets.get(of, {}).get("curve", {}).get(size, {}).get("value"), goal))
    for what, kind in MAPS.items():
        for of, error in calibration.get(what, {}).get(kind, {}).items():
            if of == "pooled" or sets[of]["n"] > LARGE:
                rows.append(_goal(f"calibration error of {_WHAT[what]}, {of}", error, CALIBRATION_GOAL, most=True))
    return rows


_WHAT = {"gain": "the gain", "weak": "P(weak adequate)"}


def latency_goals(latency_ms: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """p50 of one decision in ms: the smaller the better."""
    wanted = {"without embedding": 1.0, "with embedding": 10.0}
    return [
        _goal(f"ms per decision, {name}", latency_ms[name]["p50"], goal, most=True) for name, goal in wanted.items()
    ]


def _goal(name: str, value: float | None, goal: float, *, most: bool = False) -> dict[str, Any]:
    met = value is not None and (value <= goal if most else value >= goal)
    return {"name": name, "value": value, "goal": goal, "at_most": most, "met": met}


def means(sets: Mapping[str, Any]) -> dict[str, float | None]:
    """APGR over the README's eight figures: by regime, and of each baseline."""
    names = next(iter(sets.values()))["baselines"]
    found = {regime: mean_of_eight(sets, regime) for regime in REGIMES}
    return found | {name: mean_of_eight(sets, "id", name) for name in names}


def mean_of_eight(sets: Mapping[str, Any], regime: str, baseline: str | None = None) -> float | None:
    values = [_value(sets, each, regime, "score", baseline) for each in MEAN_OF]
    return None if None in values else float(np.mean([value for value in values if value is not None]))


def _value(sets: Mapping[str, Any], of: str, regime: str, stage: str, baseline: str | None = None) -> float | None:
    if of not in sets:
        return None
    of_set = sets[of]
    found = of_set["regimes"].get(regime, {}).get(stage) if baseline is None else of_set["baselines"].get(baseline)
    return None if found is None else float(found["apgr"]["value"])
