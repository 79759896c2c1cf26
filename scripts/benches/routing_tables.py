"""Prints the routing figures for a terminal, and writes the block of Markdown that README holds; measures nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from routing_report import MEASURED, PUBLISHED, REGIMES, STAGES
from routing_sets import MEAN_OF

START, END = "<!-- routing table: scripts/bench routing --write -->", "<!-- end of the routing table -->"
PLAIN = ("length", "rules", "logistic", "ridge, vectors", "ridge, words", "kNN", "boosting")
"""Baselines that a router could be: not told the subject, no oracle, no coin."""
_TITLES = ("APGR", "CPT(50)", "CPT(80)", "calls saved at 95%", "dollars", "calls saved at 99%", "dollars", "AUROC")
_SHARES = ("cpt50", "cpt80", "calls95", "dollars95", "calls99", "dollars99")
_WORDS = {"id": "in-domain", "id-1500": "1,500 labels", "ood": "out of domain", "lodo": "leave one out"}


def show(told: Mapping[str, Any], console: Console) -> None:
    """The tables a person reads; `told` is what --json prints."""
    for name, each in told["sets"].items():
        console.print(_one_set(name, each))
    console.print(_curves(told["sets"]))
    console.print(_calibration(told["calibration"]))
    console.print(_goals(told["goals"], told["mean_of_8"]))
    for name, values in told.get("latency_ms", {}).items():
        console.print(f"decision, {name}: p50 {values['p50']:.2f} ms, p95 {values['p95']:.2f} ms")
    console.print(
        "In brackets 95% bootstrap intervals over queries. Saved: in hindsight, at a share of the strong model's "
        "quality. Published: RouteLLM's best. README: plain ensembles on its held-out part, not these folds."
    )
    console.print(f"{told['seconds']} s, of which {told['cpu_seconds']} s of processor time")


def _one_set(name: str, each: Mapping[str, Any]) -> Grid:
    title = f"{name}: {each['n']:,} queries, weak {each['weak']:.3f}, strong {each['strong']:.3f}"
    grid = Grid("router", *_TITLES, title=title, title_justify="left")
    for router, figure in _routers(each):
        grid.add_row(router, *_cells(figure))
    if "ceiling_weak_known" in each:
        grid.add_row("knows if the weak one is right", _cell(each["ceiling_weak_known"]))
    for words, known in (("RouteLLM's best, published", PUBLISHED), ("plain ensemble, README", MEASURED)):
        if name in known:
            grid.add_row(words, f"{known[name]:.3f}")
    return grid


def _routers(each: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from each["baselines"].items()
    for regime in REGIMES:
        for stage, words in STAGES.items():
            if figure := each["regimes"].get(regime, {}).get(stage):
                yield f"[bold]{_WORDS[regime]}{words}[/]", figure


def _cells(figure: Mapping[str, Any]) -> list[str]:
    return [_cell(figure["apgr"]), *(_share(figure[name]) for name in _SHARES), _cell(figure["auroc"])]


def _cell(figure: Mapping[str, float] | None) -> str:
    return "" if figure is None else f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def _share(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.0%} ({figure['low']:.0%}–{figure['high']:.0%})"


def _curves(sets: Mapping[str, Any]) -> Grid:
    header, *rows = _curve_rows(sets)
    grid = Grid(*header, title="Learning curve, APGR", title_justify="left")
    for row in rows:
        grid.add_row(*row)
    return grid


def _curve_rows(sets: Mapping[str, Any]) -> Iterator[list[str]]:
    yield ["labels", "0 (ood)", "100", "300", "750", "1,500", "all"]
    for name, each in sets.items():
        if each["curve"]:
            ends = {regime: _cell(stages["score"]["apgr"]) for regime, stages in each["regimes"].items()}
            middle = [_cell(figure) for _, figure in sorted(each["curve"].items())]
            yield [name, ends["ood"], *middle, ends["id-1500"], ends["id"]]


def _calibration(errors: Mapping[str, Any]) -> Grid:
    names = list(next(iter(next(iter(errors.values())).values())))
    title = "Debiased calibration error, 15 bins, maps fitted on other folds"
    grid = Grid("predicted, map", *names, title=title, title_justify="left")
    for what, kinds in errors.items():
        for kind, each in kinds.items():
            grid.add_row(f"{what}, {kind}", *(f"{each[name]:.3f}" for name in names))
    return grid


def _goals(rows: Sequence[Mapping[str, Any]], means: Mapping[str, float | None]) -> Grid:
    grid = Grid("goal", "reached", "wanted", "met", title_justify="left")
    for name, value in means.items():
        if value is not None:
            grid.add_row(f"mean of 8: {name}", f"{value:.3f}", "", "")
    for row in rows:
        grid.add_row(row["name"], *_goal_cells(row))
    return grid


def _goal_cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
    value = "not measured" if row["value"] is None else f"{row['value']:.3f}"
    return value, f"{'≤' if row['at_most'] else '≥'} {row['goal']:g}", "yes" if row["met"] else "no"


def block(told: Mapping[str, Any]) -> str:
    """The main table, as README holds it between START and END."""
    return "\n".join([START, *_apgr_lines(told["sets"], told["mean_of_8"]), "", END]) + "\n"


def page(told: Mapping[str, Any]) -> str:
    """The block and every other table. Timings are left out: they differ from run to run."""
    sets, means = told["sets"], told["mean_of_8"]
    parts = [_saving_lines(sets), _plain_lines(sets, means), list(_curve_lines(sets)), _goal_lines(told["goals"])]
    return "\n".join([block(told), *("\n".join([*part, ""]) for part in parts)])


def _apgr_lines(sets: Mapping[str, Any], means: Mapping[str, float | None]) -> list[str]:
    lines = [
        "APGR (random .50), out of fold, with 95% intervals.",
        "",
        "| set | best plain | **in-domain** | + weak answer | + agreement | 1,500 labels | out of domain "
        "| leave one out | oracle | RouteLLM, published |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in sets.items():
        plain = max(PLAIN, key=lambda baseline: each["baselines"][baseline]["apgr"]["value"])
        stages = each["regimes"]["id"]
        cells = [f"{_point(each['baselines'][plain]['apgr'])} {plain}", f"**{_point(stages['score']['apgr'])}** "]
        cells[1] += _bracket(stages["score"]["apgr"])
        cells += [_both(stages.get(stage, {}).get("apgr")) for stage in ("after_answer", "after_agreement")]
        cells += [_point(each["regimes"][regime]["score"]["apgr"]) for regime in ("id-1500", "ood", "lodo")]
        cells += [_point(each["baselines"]["oracle"]["apgr"]), f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else ""]
        lines.append(f"| {name} ({each['n']:,}) | " + " | ".join(cells) + " |")
    if means["id"] is not None:
        plain = max(PLAIN, key=lambda baseline: means[baseline] or 0.0)
        cells = [f"{means[plain]:.3f} {plain}", f"**{means['id']:.3f}**", "", ""]
        cells += [f"{means[regime]:.3f}" for regime in ("id-1500", "ood", "lodo")] + [f"{means['oracle']:.3f}", ""]
        lines.append(f"| **mean of {len(MEAN_OF)}** | " + " | ".join(cells) + " |")
    return lines


def _saving_lines(sets: Mapping[str, Any]) -> list[str]:
    lines = [
        "In-domain, before the call; saved in hindsight at a share of the strong model's quality.",
        "",
        "| set | CPT(50) | CPT(80) | calls saved at 95% | dollars | calls saved at 99% | dollars | AUROC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, each in sets.items():
        figure = each["regimes"]["id"]["score"]
        cells = [_share(figure[one]) for one in _SHARES] + [_cell(figure["auroc"])]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _plain_lines(sets: Mapping[str, Any], means: Mapping[str, float | None]) -> list[str]:
    names = list(next(iter(sets.values()))["baselines"])
    lines = [
        "Baselines in the same folds, APGR.",
        "",
        "| set | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for name, each in sets.items():
        lines.append(f"| {name} | " + " | ".join(_point(each["baselines"][one]["apgr"]) for one in names) + " |")
    if means["id"] is not None:
        lines.append("| **mean of 8** | " + " | ".join(f"{means[one]:.3f}" for one in names) + " |")
    return lines


def _curve_lines(sets: Mapping[str, Any]) -> Iterator[str]:
    header, *rows = _curve_rows(sets)
    yield from ("Learning curve, APGR.", "", "| " + " | ".join(header) + " |", "|---" * len(header) + "|")
    yield from ("| " + " | ".join(row) + " |" for row in rows)


def _goal_lines(goals: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| goal | reached | wanted | met |", "|---|---|---|---|"]
    told = (goal for goal in goals if not goal["name"].startswith("ms "))
    return lines + [f"| {goal['name']} | " + " | ".join(_goal_cells(goal)) + " |" for goal in told]


def _point(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f}"


def _bracket(figure: Mapping[str, float]) -> str:
    return f"({figure['low']:.3f}–{figure['high']:.3f})"


def _both(figure: Mapping[str, float] | None) -> str:
    return "" if figure is None else f"{_point(figure)} {_bracket(figure)}"


def differences(written: Path, told: Mapping[str, Any]) -> list[str]:
    """Lines of the block in `written` that differ from what was measured, as a diff; empty where they agree."""
    text = written.read_text(encoding="utf-8")
    if START not in text or END not in text:
        return [f"{written} holds no block between {START} and {END}"]
    held = text[text.index(START) : text.index(END)].splitlines()
    return list(difflib.unified_diff(held, block(told).splitlines()[:-1], str(written), "measured", lineterm="", n=0))
