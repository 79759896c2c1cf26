"""Draws the cost–quality curves and the reliability of the predictions as PNG files; measures nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image
from routing_calibration import happened, reliability
from routing_regimes import SetScores
from routing_sets import Floats, Table
from routing_tables import PLAIN

from orchestrator.core.replay import evaluate

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

OURS, BEST, RANDOM, ORACLE, POINT = "#0b6e4f", "#c8801b", "#8a8a8a", "#3b5ba5", "#a4243b"
STAGES = (
    ("score", "ours, before the call", "-"),
    ("after_answer", "ours, weak answer read", "--"),
    ("after_agreement", "ours, agreement of local models", ":"),
)
DPI, COLOURS = 80, 48


def curves(tables: Mapping[str, Table], found: Mapping[str, SetScores], told: Mapping[str, Any], file: Path) -> None:
    """Small multiples: mean quality against the share of calls that go to the strong model, out of fold."""
    names = [name for name in told if name in tables and name != "mtbench"]
    rows = -(-len(names) // 3)
    figure, grid = plt.subplots(rows, 3, figsize=(11, 3.1 * rows), squeeze=False)
    for panel in grid.flat[len(names) :]:
        panel.axis("off")
    for panel, name in zip(grid.flat, names, strict=False):
        _panel(panel, tables[name], found[name], told[name])
    handles: dict[str, Any] = {}
    for panel in grid.flat:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    legend = grid.flat[-1] if len(names) < len(grid.flat) else figure
    legend.legend(handles.values(), handles.keys(), loc="center", fontsize=9, frameon=False)
    figure.supxlabel("share of calls that go to the strong model", fontsize=10)
    figure.supylabel("mean quality", fontsize=10)
    _save(figure, file)


def _panel(panel: Any, table: Table, found: SetScores, told: Mapping[str, Any]) -> None:
    assert table.weak is not None
    assert table.strong is not None
    best = max(PLAIN, key=lambda name: told["baselines"][name]["apgr"]["value"])
    weak, strong = float(table.weak.mean()), float(table.strong.mean())
    panel.plot(*_curve(table, evaluate.oracle_score(table.weak, table.strong)), color=ORACLE, lw=1, label="oracle")
    panel.plot([0, 1], [weak, strong], color=RANDOM, lw=1, label="random")
    panel.plot(*_curve(table, found.baselines[best]), color=BEST, lw=1, label="best plain router")
    for stage, words, style in STAGES:
        if (scores := getattr(found.regimes["id"], stage)) is not None:
            panel.plot(*_curve(table, scores), color=OURS, lw=1.5, ls=style, label=words)
    panel.plot([1], [strong], "o", color=POINT, ms=5, label="always premium", clip_on=False)
    panel.axhline(0.99 * strong, color=POINT, lw=0.5, ls=":")
    panel.set_title(f"{table.name} (n = {len(table):,}; plain: {best})", fontsize=9)
    panel.tick_params(labelsize=8)


def _curve(table: Table, score: Floats) -> tuple[Floats, Floats]:
    assert table.weak is not None
    assert table.strong is not None
    points = evaluate.curve(table.weak, table.strong, score)
    kept = np.unique(np.linspace(0, len(points.share) - 1, 300).astype(int))
    return points.share[kept], points.quality[kept]


def reliabilities(
    tables: Mapping[str, Table],
    maps: Mapping[str, Mapping[str, Mapping[str, Floats]]],
    chosen: Mapping[str, str],
    errors: Mapping[str, Any],
    large: list[str],
    file: Path,
) -> None:
    """Mean outcome against mean prediction in 15 bins of equal mass, before and after the map, with standard errors."""
    figure, grid = plt.subplots(2, 1 + len(large), figsize=(3.1 * (1 + len(large)), 6.2), squeeze=False)
    for line, (what, words) in zip(grid, (("gain", "gain"), ("weak", "P(weak adequate)")), strict=True):
        for panel, name in zip(line, ("pooled", *large), strict=True):
            names = list(maps) if name == "pooled" else [name]
            outcome = np.concatenate([happened(tables[one], what) for one in names])
            for kind, colour in (("raw", BEST), (chosen[what], OURS)):
                predicted = np.concatenate([maps[one][what][kind] for one in names])
                mean, seen, error = reliability(predicted, outcome)
                label = f"{kind}: error {errors[what][kind][name]:.3f}"
                panel.errorbar(mean, seen, error, fmt="o", ms=3, lw=0.8, color=colour, label=label)
            panel.plot(*[[mean.min(), mean.max()]] * 2, color=RANDOM, lw=0.8)
            panel.set_title(f"{words}, {name}", fontsize=9)
            panel.legend(fontsize=7, frameon=False)
            panel.tick_params(labelsize=8)
    figure.supxlabel("predicted", fontsize=10)
    figure.supylabel("observed", fontsize=10)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    """As PNG of 48 colours, a third of the size, and without a version in it: the same figures, the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, format="png", metadata={"Software": None})
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(file, optimize=True)
