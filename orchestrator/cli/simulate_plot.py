"""The cost–quality chart of a simulation, as HTML of our own and as PNG by matplotlib. Computes no figure."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.cli.simulate_run import Shown
from orchestrator.cli.simulate_table import figure_rows, notes, sentences
from orchestrator.core.errors import ConfigError, InvalidInput
from orchestrator.core.replay import chart
from orchestrator.core.replay.chart import Chart, Policy, Spot
from orchestrator.core.replay.simulate import Figures

_HEADINGS = ("", "quality", "95% interval", "$ per 1,000", "95% interval", "who answered")
_COLOURS = ("#0757ba", "#b1361e", "#1a6b32", "#7a3fb0", "#8a5a00")
_INCHES, _DPI = (8.6, 5.2), 150


def require_matplotlib() -> None:
    """Before any work is done. Raises ConfigError."""
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "--png needs matplotlib, which is not installed: `scripts/install plots` (or pip install "
            "'pennyroute[plots]'). --html draws the same chart without it."
        )


def chart_of(shown: Shown) -> Chart:
    seating = shown.ground.seating
    return Chart(
        title=f"Cost and quality on {shown.source.name}",
        policies=[
            Policy(spot=_spot(one.policy), curve=[(point.cost_usd, point.quality) for point in one.curve])
            for one in shown.simulations
        ],
        others=[_spot(figures) for figures in shown.baselines],
        blind=(_spot(shown.baselines[seating.weak]), _spot(shown.baselines[seating.strong])),
    )


def html_of(shown: Shown) -> str:
    return chart.page(chart_of(shown), _HEADINGS, figure_rows(shown), [*sentences(shown), *notes(shown)])


def write_png(shown: Shown, file: Path) -> None:
    """Raises ConfigError without matplotlib, InvalidInput where the file cannot be written."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn, figure = chart_of(shown), Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    middle = max(spot.x for spot in drawn.others) / 2
    for number, policy in enumerate(drawn.policies):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.plot([cost for cost, _ in policy.curve], [quality for _, quality in policy.curve], color=colour, lw=1.8)
        _mark(axes, policy.spot, colour, "o", middle)
    for spot in drawn.others:
        _mark(axes, spot, "#333333", "s", middle)
    if drawn.blind:
        axes.plot([spot.x for spot in drawn.blind], [spot.y for spot in drawn.blind], "--", color="#59636e", lw=1.2)
    axes.set(xlabel="cost of 1,000 requests, in dollars", ylabel="mean quality of the answers", title=drawn.title)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(color="#d9dee3")
    axes.margins(x=0.06, y=0.1)
    axes.set_xlim(left=0.0 if min(spot.x for spot in drawn.others) > 0 else -0.02 * axes.get_xlim()[1])
    try:
        figure.savefig(file, format="png")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.", field="png") from error


def _mark(axes: Any, spot: Spot, colour: str, shape: str, middle: float) -> None:
    bars = {
        "xerr": [[spot.x - spot.x_range[0]], [spot.x_range[1] - spot.x]] if spot.x_range else None,
        "yerr": [[spot.y - spot.y_range[0]], [spot.y_range[1] - spot.y]] if spot.y_range else None,
    }
    axes.errorbar([spot.x], [spot.y], **bars, fmt=shape, color=colour, capsize=3, lw=1.2, ms=6)
    name = spot.name.replace("$", r"\$")  # else matplotlib reads mathematics
    offset, side = ((-7, 5), "right") if spot.x > middle else ((7, 5), "left")
    axes.annotate(name, (spot.x, spot.y), xytext=offset, textcoords="offset points", fontsize=9, ha=side)


def _spot(figures: Figures) -> Spot:
    quality, cost = figures.quality, figures.cost_usd
    return Spot(
        name=figures.name,
        x=cost.value,
        y=quality.value,
        x_range=(min(cost.low, cost.value), max(cost.high, cost.value)),
        y_range=(min(quality.low, quality.value), max(quality.high, quality.value)),
    )
