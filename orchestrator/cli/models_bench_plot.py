"""Accuracy against time of the benched models, as a PNG by matplotlib. Computes no figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cli.simulate_plot import require_matplotlib
from orchestrator.core.errors import InvalidInput


def write_png(found: Sequence[Any], file: Path) -> None:
    """One dot a model with the interval of its accuracy. Raises ConfigError without matplotlib, InvalidInput where the
    file cannot be written."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for each in found:
        low, high = each.figures.interval
        accuracy = each.figures.accuracy
        axes.errorbar([each.mean_ms], [accuracy], yerr=[[accuracy - low], [high - accuracy]], fmt="o", capsize=3)
        axes.annotate(each.model, (each.mean_ms, accuracy), textcoords="offset points", xytext=(7, 5), fontsize=8)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel("milliseconds a file, as a caller waits")
    axes.set_ylabel("accuracy on 100 labelled files")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    try:
        figure.savefig(file, format="png")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.", field="png") from error
