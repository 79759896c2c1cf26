"""Draws an explanation for somebody who sees one for the first time. It shows what it was told and computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from orchestrator.cli.screen import milliseconds, money, table

Told = Mapping[str, Any]

_PROMPT_CHARACTERS = 200
_SHOWN_NEIGHBOURS = 5
_SHOWN_MODELS = 6
_TIER_STYLES = {"builtin": "green", "local": "green", "mid": "yellow", "premium": "magenta"}
_STATES = {
    "met": "certified on labels",
    "reference": "no cheaper model keeps it, so the reference answers",
    "uncertified": "not enough labels yet, so the reference answers",
    "revoked": "live labels refuted it, so the reference answers",
}
_MOST_PLANS = 10


def show_explanation(console: Console, prompt: str, told: Told) -> None:
    """The whole page, top to bottom in the order in which routing thinks."""
    shown = " ".join(prompt.split())
    shown = f"{shown[:_PROMPT_CHARACTERS]}…" if len(shown) > _PROMPT_CHARACTERS else shown
    console.print(Panel(Text(shown), title="prompt", title_align="left", border_style="dim"))
    if told.get("offline"):
        console.print(Text(str(told["offline"]), style="yellow"), soft_wrap=True, highlight=False)
    for heading, body in _sections(told):
        console.print(Text(f"\n{heading}", style="bold"))
        console.print(body, highlight=False)
    console.print(Text(f"\n{_footer(told)}", style="dim"), soft_wrap=True, highlight=False)


def _sections(told: Told) -> Iterable[tuple[str, RenderableType]]:
    yield "What would happen", _outcome(told)
    if told["plan"]:
        yield "The plan, as a ladder", _ladder(told)
    if told["features"]:
        yield "1. What the prompt looks like", _features(told)
    if told["reading"]:
        yield "2. How hard it reads", _reading(told)
    yield "3. Who could answer", _candidates(told)
    if len(told["plans"]) > 1 or told["target"]:
        yield "4. The plans that were weighed", _plans(told)
    if told["contract"]:
        yield "5. The quality contract of its class", _contract(told["contract"])
    if told["neighbours"]:
        yield f"6. Past prompts like it ({len(told['neighbours'])})", _neighbours(told["neighbours"])


def _outcome(told: Told) -> Text:
    if told["refused"]:
        return Text(f"✗ Nobody may answer ({told['refused']['code']}): {told['refused']['message']}", style="red")
    first, predicted = told["plan"][0], told["predicted"]
    words = Text("→ ", style="green")
    words.append(first["model"], style="bold")
    words.append(" would be asked first.")
    if predicted and predicted["quality"] is not None:
        words.append(f" The plan is predicted to be right {_share(predicted['quality'])} of the time")
        words.append(f", to cost {_cost(predicted['cost_nanousd'])} and to take {_time(predicted['latency_ms'])}.")
    words.append(f"\nWhy: {told['reason']}")
    if told.get("rule"):
        words.append(f"\nThe operator's rule {told['rule']!r} applies.")
    return words


def _ladder(told: Told) -> Tree:
    """Each rung with what leads to the next one."""
    rungs = told["plan"]
    tiers = {one["model"]: one["tier"] for one in told["candidates"]}
    climbs = [rung for rung in rungs if not rung["fallback"]]
    tree = Tree(_rung(rungs[0], tiers, 1), guide_style="dim")
    branch = tree
    for number, (before, rung) in enumerate(pairwise(rungs), 2):
        branch = branch.add(Text(_when(before, rung), style="dim").append_text(_rung(rung, tiers, number)))
    if len(climbs) == 1:
        tree.label = Text.assemble(
            tree.label if isinstance(tree.label, Text) else "", ("  its answer is served", "dim")
        )
    return tree


def _when(before: Told, rung: Told) -> str:
    """What leads from one rung to the next."""
    if rung["fallback"]:
        return "only if those before it fail: "
    if before["threshold"] > 1:
        return "that answer is only there to compare with; then "
    return f"if it is graded below {before['threshold']:.3g}: "


def _rung(rung: Told, tiers: Mapping[str, str], number: int) -> Text:
    tier = tiers.get(rung["model"], "")
    words = Text(f"{number}. ").append(rung["model"], style=f"bold {_TIER_STYLES.get(tier, '')}".strip())
    words.append(f" ({tier})" if tier else "")
    if rung["p_adequate"] is not None:
        words.append(f"  right {_share(rung['p_adequate'])} of the time")
    return words


def _features(told: Told) -> RenderableType:
    rows = [(one["name"].replace("_", " "), _value(one["value"]), one["meaning"]) for one in told["features"]]
    return table(("signal", "here", "what it means"), rows, right=("here",))


def _reading(told: Told) -> RenderableType:
    reading = told["reading"]
    rows = [(name, f"{reading[name]:+.2f}", reading["words"][name]) for name in ("ease", "reach", "gain")]
    rows.append(("hardness", f"{reading['hardness']:.2f}", reading["words"]["hardness"]))
    class_words = Text("Signals and the artefact's reading together make the class ").append(
        str(told["complexity"]), style="bold"
    )
    trust = f", where the artefact counts {reading['trust']:.0%} (the policy's trust)."
    return Group(table(("number", "here", "in words"), rows, right=("here",)), class_words.append(trust))


def _candidates(told: Told) -> RenderableType:
    """Who a plan would ask and who was refused, row by row; the rest in one line per reason."""
    shown = [one for one in told["candidates"] if one["standing"] == "in_plan" or _is_refused(one)]
    parts: list[RenderableType] = []
    if shown:
        numbers = ("right", "cost", "time")
        made = table(("", "model", "tier", *numbers, "why, or why not"), map(_candidate, shown), right=numbers)
        made.columns[1].no_wrap = True
        parts.append(made)
    rest = [one for one in told["candidates"] if one not in shown]
    return Group(*parts, *(Text(line, style="dim") for line in _others(rest)))


def _is_refused(one: Told) -> bool:
    return one["standing"] == "refused" and one["p_adequate"] is not None


def _candidate(one: Told) -> Sequence[str | Text]:
    planned = one["standing"] == "in_plan"
    return (
        Text("●" if planned else "✗", style="green" if planned else "yellow"),
        Text(one["model"], style=_TIER_STYLES.get(one["tier"], "")),
        one["tier"],
        _share(one["p_adequate"]),
        _cost(one["cost_nanousd"]),
        _time(one["latency_ms"]),
        one["why_not"] or f"ability {one['ability_from']}{_experience(one)}",
    )


def _experience(one: Told) -> str:
    if not one["like_prompts"]:
        return ""
    return f"; failed {one['like_prompts_failed']} of {one['like_prompts']} prompts like this"


def _others(candidates: Sequence[Told]) -> Iterable[str]:
    by_reason: dict[str, list[str]] = {}
    for one in candidates:
        predicted = f" {_share(one['p_adequate'])}" if one["p_adequate"] is not None else ""
        by_reason.setdefault(one["why_not"] or "not predicted", []).append(f"{one['model']}{predicted}")
    for reason, models in by_reason.items():
        more = f" and {len(models) - _SHOWN_MODELS} more (--json names them)" if len(models) > _SHOWN_MODELS + 1 else ""
        yield f"○ {', '.join(models[:_SHOWN_MODELS] if more else models)}{more}: {reason}"


def _plans(told: Told) -> RenderableType:
    target = told["target"]
    plans = list(told["plans"])
    if len(plans) > _MOST_PLANS:
        chosen = [plan for plan in plans if plan["chosen"]]
        plans = plans[: _MOST_PLANS - len(chosen)] + [plan for plan in chosen if plan not in plans[:_MOST_PLANS]]
    rows = [
        (
            Text("→" if plan["chosen"] else "", style="green"),
            " → ".join(plan["models"]),
            _share(plan["quality"]),
            _cost(plan["cost_nanousd"]),
            _time(plan["latency_ms"]),
            {True: "enough", False: "too low", None: ""}[plan["enough"]],
        )
        for plan in plans
    ]
    shown = table(("", "plan", "quality", "cost", "time", ""), rows, right=("quality", "cost", "time"))
    if not target:
        return shown
    looked_up = "would be" if told.get("offline") else "were"
    close = f" It was close, so past prompts like it {looked_up} looked up." if target["close"] else ""
    words = f"The cheapest plan of at least {_share(target['quality'])} is taken ({target['why']}).{close}"
    return Group(Text(words), shown)


def _contract(contract: Told) -> RenderableType:
    share = f"{1 - contract['epsilon']:.1%}"
    promise = (
        f"On {contract['task_class']!r}, answers are on average at least {share} as good as {contract['reference']}'s, "
        f"with probability {1 - contract['delta']:.0%} over the labels it was certified on."
    )
    words = Text(promise)
    words.append(f"\nIt is {contract['state']}: {_STATES.get(contract['state'], '')}.")
    words.append(_standing(contract))
    if contract["more_labels"]:
        words.append(f" About {contract['more_labels']} more labels are needed.")
    if not contract["kept"]:
        words.append(" This plan cannot keep it: its reference may not be called.", style="yellow")
    return words


def _standing(contract: Told) -> str:
    """Who answers when: one kind of contract reads the query, the other the cheap model's answer."""
    threshold, score = contract["threshold"], contract["score"]
    if contract.get("reads") == "answer":
        return (
            ""
            if threshold is None
            else f" {contract['weak']}'s answer is served where it is graded above {threshold:.3f}."
        )
    told = "" if threshold is None else f" {contract['weak']} answers below a score of {threshold:+.3f}."
    return told if score is None else f"{told} This prompt's score is {score:+.3f}."


def _neighbours(neighbours: Sequence[Told]) -> RenderableType:
    rows = [
        (f"{one['similarity']:.2f}", ", ".join(f"{model} {_share(value)}" for model, value in one["outcomes"].items()))
        for one in neighbours[:_SHOWN_NEIGHBOURS]
    ]
    return table(("likeness", "how good each model's answer was"), rows, right=("likeness",))


def _footer(told: Told) -> str:
    policy, scorer = told["policy"], told["scorer"] or "–"
    return (
        f"policy {policy['name']} {policy['version']} · artefact {scorer} · registry {told['registry_version']}\n"
        "No model was called and nothing was spent. `pennyroute route` asks."
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _cost(nanousd: int | None) -> str:
    """Two digits: a prediction knows no more."""
    if nanousd is None or nanousd == 0:
        return "–" if nanousd is None else "free"
    unit = 10 ** max(0, len(str(nanousd)) - 2)
    return money(round(nanousd / unit) * unit)


def _time(value: float | None) -> str:
    return milliseconds(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
