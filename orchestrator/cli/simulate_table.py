"""Shows a simulation to people as tables and sentences, and to machines as JSON. Computes no figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from rich.console import Console
from rich.text import Text

from orchestrator.cli.screen import table
from orchestrator.cli.simulate_run import Shown
from orchestrator.core.replay.evaluate import Interval
from orchestrator.core.replay.simulate import Difference, Figures, Simulation

_COLUMNS = ("", "quality", "95% interval", "$ per 1,000", "95% interval", "who answered")
_ORDER = (("apgr", "APGR"), ("cpt50", "CPT(50%)"), ("cpt80", "CPT(80%)"), ("regret", "regret"))


def show_simulation(console: Console, shown: Shown) -> None:
    ground = shown.ground
    console.print(
        Text(f"{ground.draws.rows:,} rows of {shown.source.name}", style="bold"), soft_wrap=True, highlight=False
    )
    console.print(Text(f"Recorded models stand for cards {ground.seating.how}:"), soft_wrap=True, highlight=False)
    console.print(_seats(shown), highlight=False)
    console.print(table(_COLUMNS, figure_rows(shown), right=_COLUMNS[1:5]), highlight=False)
    if any(simulation.order for simulation in shown.simulations):
        console.print(_order(shown), highlight=False)
    for line in sentences(shown):
        console.print(Text(line), soft_wrap=True, highlight=False)
    console.print()
    for note in notes(shown):
        console.print(Text(note, style="dim"), soft_wrap=True, highlight=False)


def figure_rows(shown: Shown) -> list[tuple[str, ...]]:
    """The policies, what their shares would give dealt blindly, each model alone, the oracle."""
    blind = [_row(f"{one.policy.name}'s shares, dealt blindly", one.random) for one in shown.simulations]
    return [
        *(_row(simulation.policy.name, simulation.policy) for simulation in shown.simulations),
        *blind,
        *(_row(_said(figures, number, shown), figures) for number, figures in enumerate(shown.baselines)),
    ]


def _said(figures: Figures, number: int, shown: Shown) -> str:
    ground = shown.ground
    told = {ground.cheapest: " (cheapest)", ground.best: " (best)"}
    return f"{figures.name}{told.get(number, '')}"


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    quality, cost = figures.quality, figures.cost_usd
    served = ", ".join(f"{model} {share:.1%}" for model, share in figures.shares.items() if share)
    return (
        name,
        f"{quality.value:.1%}",
        f"{quality.low:.1%} – {quality.high:.1%}",
        f"{cost.value:.4f}",
        f"{cost.low:.4f} – {cost.high:.4f}",
        served,
    )


def _seats(shown: Shown) -> Any:
    seating = shown.ground.seating
    rows = [
        (seat.recorded, seat.card.id, seat.card.tier, f"{seat.mean_quality:.3f}", _end(number, shown))
        for number, seat in enumerate(seating.seats)
    ]
    return table(("recorded model", "stands for", "tier", "mean quality", ""), rows, right=("mean quality",))


def _end(number: int, shown: Shown) -> str:
    seating = shown.ground.seating
    return "weak" if number == seating.weak else "strong" if number == seating.strong else ""


def _order(shown: Shown) -> Any:
    rows = [
        (simulation.policy.name, *(_with_interval(simulation.order[key]) for key, _ in _ORDER))
        for simulation in shown.simulations
        if simulation.order
    ]
    return table(
        ("order of the rows, weak to strong", *(title for _, title in _ORDER)), rows, right=[t for _, t in _ORDER]
    )


def _with_interval(figure: Interval) -> str:
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def sentences(shown: Shown) -> list[str]:
    """Every comparison in words, the policies' own first."""
    return [*map(sentence, shown.differences), *map(sentence, shown.against_best)]


def sentence(difference: Difference) -> str:
    """ "B costs 31% [28, 34] less than A at quality −0.4 [−1.1, +0.3] points." """
    quality = difference.quality
    points = f"{_signed(quality.value)} [{_signed(quality.low)}, {_signed(quality.high)}] points"
    return f"{difference.second} {_dearer(difference)} at quality {points}."


def _dearer(difference: Difference) -> str:
    cost, than = difference.cost_share, difference.first
    if not isfinite(cost.value):
        return f"costs something where {than} costs nothing,"
    if round(cost.value, 3) == 0:
        return f"costs as much as {than} [{_signed(cost.low)}%, {_signed(cost.high)}%]"
    low, high = (cost.low, cost.high) if cost.value > 0 else (-cost.high, -cost.low)
    word = "more" if cost.value > 0 else "less"
    return f"costs {abs(cost.value):.0%} [{_whole(low)}, {_whole(high)}] {word} than {than}"


def _whole(share: float) -> str:
    return f"{round(100 * share)}".replace("-", "−")


def _signed(share: float) -> str:
    """Points with a true minus, so that a range reads as one."""
    return f"{100 * share:+.1f}".replace("-", "−")


def notes(shown: Shown) -> list[str]:
    """What the figures rest on, and what they cannot say."""
    ground = shown.ground
    draws, rows = ground.draws, ground.draws.rows
    found = [
        f"Intervals: {draws.replicates:,} bootstrap draws of {draws.clusters:,} groups of rows (split_key), seed "
        f"{shown.seed}. APGR, CPT and regret are about the order of rows between the weak and the strong model.",
        f"Costs: {', '.join(f'{how} ({count:,} answers)' for how, count in shown.costed.items())}.",
    ]
    if shown.trained_on:
        found.append(
            f"The shipped artefacts learned from outcomes of {', '.join(shown.trained_on)}, perhaps these very rows: "
            "what they read in them flatters a policy here. Rows of your own tell more."
        )
    if (left_out := len(shown.source.rows) - rows) > 0:
        found.append(f"{left_out:,} rows lack an answer of a model that plays and were left out.")
    found += [f"{one.policy.name}: {told}" for one in shown.simulations for told in _of_policy(one, rows)]
    found += shown.source.notes
    if shown.worked_s > 0:
        speed = shown.choices / shown.worked_s
        found.append(f"{shown.choices:,} choices in {shown.took_s:.1f} s, {speed:,.0f} per second of one processor.")
    return found


def _of_policy(simulation: Simulation, rows: int) -> Iterable[str]:
    yield f"classes {', '.join(f'{name} {count:,}' for name, count in simulation.classes.items())}."
    if simulation.judged:
        yield (
            f"{simulation.judged:,} first answers were read and judged (no embedder was asked for relevance); "
            f"{simulation.escalated:,} rows were served by somebody else than the model asked first."
        )
    if simulation.judged < rows:
        yield (
            f"of {rows - simulation.judged:,} rows the first model's answer was not kept, so it was served unread: in "
            "service the judge would send some of them up."
        )
    if simulation.by_contract:
        yield f"a quality contract decided {simulation.by_contract:,} rows."
    if simulation.refused:
        yield f"{simulation.refused:,} rows found no model that may answer; they count as quality 0 at no cost."
    if simulation.order is None:
        yield "the strong model is no better than the weak one here, so APGR and CPT say nothing."


def to_json(shown: Shown) -> Mapping[str, Any]:
    ground = shown.ground
    return {
        "data": shown.source.name,
        "rows": ground.draws.rows,
        "rows_left_out": len(shown.source.rows) - ground.draws.rows,
        "clusters": ground.draws.clusters,
        "replicates": ground.draws.replicates,
        "seed": shown.seed,
        "seats": [
            {"recorded": s.recorded, "card": s.card.id, "tier": s.card.tier, "mean_quality": s.mean_quality}
            for s in ground.seating.seats
        ],
        "weak": ground.seating.names[ground.seating.weak],
        "strong": ground.seating.names[ground.seating.strong],
        "seated": ground.seating.how,
        "policies": [_simulation(one, shown.versions[number]) for number, one in enumerate(shown.simulations)],
        "baselines": [_figures(figures) for figures in shown.baselines],
        "cheapest": ground.seating.names[ground.cheapest],
        "best": ground.seating.names[ground.best],
        "against_best": [_difference(one) for one in shown.against_best],
        "differences": [_difference(one) for one in shown.differences],
        "costed": dict(shown.costed),
        "trained_on": list(shown.trained_on),
        "seconds": round(shown.took_s, 3),
        "notes": notes(shown),
    }


def _simulation(simulation: Simulation, version: str) -> dict[str, Any]:
    order = simulation.order
    return {
        **_figures(simulation.policy),
        "version": version,
        "random": _figures(simulation.random),
        "order": {key: _interval(value) for key, value in order.items()} if order else None,
        "curve": [
            {"offset": point.offset, "quality": point.quality, "cost_usd_per_1000": point.cost_usd}
            for point in simulation.curve
        ],
        "refused": simulation.refused,
        "judged": simulation.judged,
        "escalated": simulation.escalated,
        "by_contract": simulation.by_contract,
        "classes": {str(name): count for name, count in simulation.classes.items()},
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "name": figures.name,
        "quality": _interval(figures.quality),
        "cost_usd_per_1000": _interval(figures.cost_usd),
        "shares": dict(figures.shares),
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "first": difference.first,
        "second": difference.second,
        "cost_share": _interval(difference.cost_share),
        "quality": _interval(difference.quality),
        "words": sentence(difference),
    }


def _interval(figure: Interval) -> Sequence[float | None]:
    """Value, low, high; JSON has no number for what cannot be told."""
    return [round(each, 6) if isfinite(each) else None for each in (figure.value, figure.low, figure.high)]
