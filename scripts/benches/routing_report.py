"""Turns out-of-fold scores into figures with intervals, goals and tables; learns nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from routing_regimes import Scores, SetScores
from routing_sets import MEAN_OF, Floats, Indices, Table

from orchestrator.core import evaluate

REPLICATES = 300
STAGES = {"score": "", "after_answer": " + weak answer", "after_agreement": " + agreement"}
PUBLISHED = {"mmlu": 0.603, "gsm8k:official": 0.622}
MEASURED = {
    "mmlu": 0.706,
    "gsm8k": 0.549,
    "gsm8k:official": 0.640,
    "mmlu_pro": 0.579,
    "ze_gsm": 0.552,
    "ze_math_l5": 0.553,
    "ze_crux": 0.572,
    "llmrouter_mix": 0.699,
    "routerarena": 0.657,
    "mmlu + 1,500 labels": 0.646,
    "gsm8k + weak answer": 0.672,
    "gsm8k:official + weak answer": 0.775,
    "mmlu_pro + weak answer": 0.601,
    "mmlu_pro + agreement": 0.666,
    "ze_gsm + agreement": 0.751,
    "ze_math_l5 + agreement": 0.635,
    "ze_crux + agreement": 0.611,
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
    ("gsm8k official, query only", "gsm8k:official", "id", "score", 0.68),
    ("gsm8k official, weak answer read", "gsm8k:official", "id", "after_answer", 0.82),
    ("mmlu_pro, query only", "mmlu_pro", "id", "score", 0.62),
    ("mmlu_pro, weak answer read", "mmlu_pro", "id", "after_answer", 0.66),
    ("mmlu_pro, agreement of two more", "mmlu_pro", "id", "after_agreement", 0.74),
    ("llmrouter_mix", "llmrouter_mix", "id", "score", 0.77),
    ("routerarena", "routerarena", "id", "score", 0.71),
)


def figures(table: Table, found: SetScores) -> dict[str, Any]:
    """All figures of one set: by regime and stage, the baselines, the learning curve, AUROC's and APGR's ceilings."""
    draws = np.random.default_rng(0).integers(0, len(table), (REPLICATES, len(table)))
    told: dict[str, Any] = {"n": len(table), "regimes": {}, "baselines": {}, "curve": {}}
    for regime, scores in found.regimes.items():
        told["regimes"][regime] = {
            stage: _graded(table, values, draws, regime)
            for stage in STAGES
            if (values := getattr(scores, stage)) is not None
        }
    for name, values in found.baselines.items():
        told["baselines"][name] = _apgr(table.weak, table.strong, values, draws)
    told["curve"] = {size: _apgr(table.weak, table.strong, values, draws) for size, values in found.curve.items()}
    if found.regimes and found.regimes.get("id", _NONE).after_answer is not None:
        assert table.weak is not None
        knows = -table.weak + 1e-3 * found.regimes["id"].score
        told["ceiling_weak_known"] = _apgr(table.weak, table.strong, knows, draws)
    if table.name == "gsm8k":
        told["official"] = _official(table, found, draws)
    return told


_NONE = Scores(score=np.empty(0))


def _graded(table: Table, scores: Floats, draws: Indices, regime: str) -> dict[str, Any]:
    assert table.weak is not None
    assert table.strong is not None
    assert table.usd is not None
    weak, strong = table.weak, table.strong
    told: dict[str, Any] = {
        "apgr": _apgr(weak, strong, scores, draws),
        "apgr_11_thresholds": evaluate.apgr_routellm(weak, strong, scores),
        "auroc": evaluate.auroc(table.gain > 0, scores),
        "cpt50": evaluate.cpt(weak, strong, scores, 0.5),
        "cpt80": evaluate.cpt(weak, strong, scores, 0.8),
        "regret_at_half": evaluate.regret(weak, strong, scores, 0.5),
    }
    for keep in (0.95, 0.99):
        saved = evaluate.saving(weak, strong, scores, keep, *table.usd)
        told[f"saved_at_{keep:.0%}"] = {"calls": saved.calls_saved, "dollars": saved.dollars_saved}
        interval = evaluate.interval(_calls_saved(table, scores, keep), draws[:100])
        told[f"saved_at_{keep:.0%}"]["calls_interval"] = [interval.low, interval.high]
    if regime.startswith("id") and len(table) >= 15 * 15:
        scale = max(1.0, float(strong.max()))  # MT-Bench grades from 1 to 10
        told["calibration_error"] = evaluate.calibration_error(scores / scale, table.gain / scale)
    return told


def _calls_saved(table: Table, scores: Floats, keep: float) -> Any:
    weak, strong, usd = table.weak, table.strong, table.usd
    assert weak is not None
    assert strong is not None
    assert usd is not None

    def of(rows: Indices) -> float:
        found = evaluate.saving(weak[rows], strong[rows], scores[rows], keep, usd[0][rows], usd[1][rows])
        return found.calls_saved

    return of


def _official(table: Table, found: SetScores, draws: Indices) -> dict[str, Any]:
    assert table.official is not None
    told: dict[str, Any] = {}
    for regime, scores in found.regimes.items():
        stages = {stage: getattr(scores, stage) for stage in STAGES}
        told[regime] = {
            stage: _apgr(*table.official, values, draws) for stage, values in stages.items() if values is not None
        }
    told["baselines"] = {name: _apgr(*table.official, values, draws) for name, values in found.baselines.items()}
    return told


def _apgr(weak: Any, strong: Any, scores: Floats, draws: Indices) -> dict[str, float]:
    found = evaluate.apgr_interval(weak, strong, scores, draws)
    return {"value": found.value, "low": found.low, "high": found.high}


def goals(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """name, value, goal, met; a figure that was not measured has value None and is not met."""
    rows = []
    for name, of, regime, stage, goal in GOALS:
        value = mean_of_eight(told, regime) if of == "mean" else _value(told, of, regime, stage)
        rows.append({"name": name, "value": value, "goal": goal, "met": value is not None and value >= goal})
    return rows


def latency_goals(latency_ms: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """p50 of one decision in ms: the smaller the better."""
    wanted = {"without embedding": 1.0, "with embedding": 10.0}
    taken = {name: latency_ms[name]["p50"] for name in wanted}
    return [
        {"name": f"ms per decision, {name}", "value": taken[name], "goal": goal, "met": taken[name] <= goal}
        for name, goal in wanted.items()
    ]


def mean_of_eight(told: Mapping[str, Any], regime: str, baseline: str | None = None) -> float | None:
    values = [_value(told, each, regime, "score", baseline) for each in MEAN_OF]
    return None if None in values else float(np.mean([value for value in values if value is not None]))


def _value(told: Mapping[str, Any], of: str, regime: str, stage: str, baseline: str | None = None) -> float | None:
    name, _, labels = of.partition(":")
    if name not in told:
        return None
    figure: Any = told[name]["official"] if labels else told[name]
    if baseline is not None:
        figure = figure["baselines"].get(baseline)
    elif labels:
        figure = figure.get(regime, {}).get(stage)
    else:
        figure = figure["regimes"].get(regime, {}).get(stage, {}).get("apgr")
    return None if figure is None else float(figure["value"])


def show(told: Mapping[str, Any], console: Console) -> None:
    """The tables a person reads; `told` is what --json prints."""
    for rows in (_routers(told["sets"]), _savings(told["sets"]), _curves(told["sets"]), _goals(told["goals"])):
        console.print(rows)
    for name, values in told.get("latency_ms", {}).items():
        console.print(f"decision, {name}: p50 {values['p50']:.2f} ms, p95 {values['p95']:.2f} ms")
    console.print("95% bootstrap intervals over queries. README: plain ensembles on the held-out part, not here.")


def _routers(sets: Mapping[str, Any]) -> Grid:
    baselines = list(next(iter(sets.values()))["baselines"])
    grid = Grid("router", *sets, title="APGR, out of fold")
    for name in baselines:
        grid.add_row(name, *(f"{each['baselines'][name]['value']:.3f}" for each in sets.values()))
    for regime in ("id", "id-1500", "ood", "lodo"):
        for stage, words in STAGES.items():
            cells = [_cell(each["regimes"].get(regime, {}).get(stage, {}).get("apgr")) for each in sets.values()]
            if any(cells):
                grid.add_row(f"[bold]{regime}{words}[/]", *cells)
    grid.add_row("weak's correctness known", *(_cell(each.get("ceiling_weak_known")) for each in sets.values()))
    for words, suffix in (("README, query only", ""), ("README, agreement", " + agreement")):
        grid.add_row(words, *(f"{MEASURED[name + suffix]:.3f}" if name + suffix in MEASURED else "" for name in sets))
    return grid


def _cell(figure: Mapping[str, float] | None) -> str:
    return "" if figure is None else f"{figure['value']:.3f}\n{figure['low']:.3f}–{figure['high']:.3f}"


def _savings(sets: Mapping[str, Any]) -> Grid:
    columns = (
        "CPT50",
        "CPT80",
        "calls saved, 95%",
        "dollars",
        "calls saved, 99%",
        "dollars",
        "AUROC",
        "APGR 11",
        "ECE",
    )
    grid = Grid("set, regime", *columns, title="Savings in hindsight, at a share of the strong model's quality")
    for name, each in sets.items():
        for regime, stages in each["regimes"].items():
            for stage, figure in stages.items():
                grid.add_row(f"{name} {regime}{STAGES[stage]}", *_saving_cells(figure))
    return grid


def _saving_cells(figure: Mapping[str, Any]) -> Sequence[str]:
    cells = [f"{figure['cpt50']:.0%}", f"{figure['cpt80']:.0%}"]
    for keep in ("95%", "99%"):
        saved = figure[f"saved_at_{keep}"]
        low, high = saved["calls_interval"]
        cells += [f"{saved['calls']:.0%} ({low:.0%}–{high:.0%})", f"{saved['dollars']:.0%}"]
    error = figure.get("calibration_error")
    return [*cells, f"{figure['auroc']:.3f}", f"{figure['apgr_11_thresholds']:.3f}", f"{error:.3f}" if error else ""]


def _curves(sets: Mapping[str, Any]) -> Grid:
    grid = Grid("labels", "0 (ood)", "100", "300", "750", "1500", "all", title="Learning curve, APGR")
    for name, each in sets.items():
        if each["curve"]:
            ends = {regime: _cell(stages["score"]["apgr"]) for regime, stages in each["regimes"].items()}
            middle = [_cell(figure) for _, figure in sorted(each["curve"].items())]
            grid.add_row(name, ends.get("ood", ""), *middle, ends.get("id-1500", ""), ends.get("id", ""))
    return grid


def _goals(rows: Sequence[Mapping[str, Any]]) -> Grid:
    grid = Grid("goal", "reached", "wanted", "met")
    for row in rows:
        value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
        grid.add_row(row["name"], value, f"{row['goal']:.2f}", "yes" if row["met"] else "no")
    return grid
