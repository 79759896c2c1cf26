"""`pennyroute explain`: what would answer a prompt and why, drawn as a page; no model is asked and nothing is spent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from orchestrator.cli.explain_page import show_explanation
from orchestrator.cli.screen import NANOUSD_PER_USD, AsJson, screen, show_json
from orchestrator.cli.server import DataDir, Key, NotRunning, Url, connect
from orchestrator.core.errors import InvalidInput, NoModelAvailable, NotEligible
from orchestrator.core.routing.asking import asked_of, candidates, seen
from orchestrator.core.routing.explain import explanation
from orchestrator.core.routing.plan import choose
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Constraints, Message, Options, Request, Strategy
from orchestrator.settings import load
from registry.schema import Task, Tier

_STDIN = "-"
_ALONE = "No API was asked: this is the shipped policy and artefact, without past prompts, queues or measured speeds."


def explain_command(
    text: Annotated[
        list[str] | None, typer.Argument(help="The prompt; - reads standard input.", metavar="[TEXT|-]…")
    ] = None,
    *,
    system: Annotated[str | None, typer.Option(help="A system message before the prompt.")] = None,
    model: Annotated[str | None, typer.Option(help="Name a model and skip routing.")] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Which tiers may answer.")] = None,
    tier: Annotated[list[Tier] | None, typer.Option(help="Only these tiers; may be repeated.")] = None,
    task_class: Annotated[
        str | None, typer.Option(help="Kind of work, in your own words; quality contracts are made per class.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer; bounds the cost too.")] = None,
    quality: Annotated[float | None, typer.Option(min=0, max=1, help="Least quality of an answer.")] = None,
    max_cost_usd: Annotated[str | None, typer.Option(help="Most that this request may cost.", metavar="USD")] = None,
    deadline_ms: Annotated[int | None, typer.Option(min=1, help="Most time that it may take.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no API, even if one runs.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Offline: as if every model could be called, keys and workers or not.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """See what would answer a prompt and why: its features, every candidate, the plans weighed, the one chosen.

    Asks the running API, so that its policy, its labels and its models count; where none runs, it works from what is
    shipped and says so. No model is called and nothing is spent.

    **Examples**

    ```text
    pennyroute explain "What is 2+2?"
    pennyroute explain --strategy local_only "Write a haiku about thrift"
    pennyroute explain --offline --all "Prove that there are infinitely many primes."
    pennyroute explain --quality 0.8 --json "Compare renting and buying a flat."
    ```
    """
    prompt = _prompt(text or [])
    how: dict[str, Any] = {
        **{"model": model, "strategy": str(strategy) if strategy else None, "task_class": task_class},
        **{"max_tokens": max_tokens, "quality": quality, "max_cost_usd": max_cost_usd, "deadline_ms": deadline_ms},
        "tiers": [str(one) for one in tier or []],
    }
    how = {name: value for name, value in how.items() if value not in (None, [])}
    alone = offline or every
    told = None if alone else _from_api(prompt, system, how, url, key, data_dir)
    if told is None:
        told = explain_alone(prompt, system, how, every=every)
    if as_json:
        show_json(told)
    else:
        show_explanation(screen(), prompt, told)


def _prompt(texts: Sequence[str]) -> str:
    if not texts:
        raise InvalidInput('Nothing was given. Try `pennyroute explain "What is 2+2?"`, or - for standard input.')
    return " ".join(sys.stdin.read() if text == _STDIN else text for text in texts)


def _from_api(
    prompt: str, system: str | None, how: dict[str, Any], url: str | None, key: str | None, data_dir: Path | None
) -> dict[str, Any] | None:
    """None where no API answers."""
    given: Any = [{"role": "system", "content": system}, {"role": "user", "content": prompt}] if system else prompt
    try:
        with connect(url, key, data_dir) as client:
            told: dict[str, Any] = client.explain(given, task="generate", **how)
    except NotRunning:
        return None
    return {**told, "offline": None}


def explain_alone(prompt: str, system: str | None, how: dict[str, Any], *, every: bool) -> dict[str, Any]:
    """The same page from the shipped policy, artefact and cards. `every`: as if all of them could be called.

    Raises ModelNotFound, InvalidInput.
    """
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    settings, policy = load(), RoutingPolicy()
    registry, (predictor, judge) = wiring.open_registry(settings), wiring.shipped()
    request = _request(prompt, system, how, settings.default_strategy)
    away = {} if every else wiring.unavailable_alone(settings, registry)
    known = seen(request, predictor)
    asked = asked_of(known, policy, candidates(request, policy, registry), away, datetime.now(UTC), judge=judge.version)
    try:
        told = explanation(asked, choose(asked, policy, registry), policy, registry)
    except (NotEligible, NoModelAvailable) as refusal:
        told = explanation(asked, None, policy, registry, refusal)
    return {**told, "offline": f"{_ALONE} {_what_counts(every)}"}


def _what_counts(every: bool) -> str:
    if every:
        return "Every model counts as if it could be called (--all)."
    return "Only models whose key is set count as callable; --all shows the choice among all of them."


def _request(prompt: str, system: str | None, how: dict[str, Any], default: Strategy) -> Request:
    messages = (Message(role="user", content=prompt),)
    request = Request(
        id=UUID(int=0),
        task=Task.GENERATE,
        messages=(Message(role="system", content=system), *messages) if system else messages,
        options=Options(max_tokens=how.get("max_tokens")),
        strategy=Strategy(how.get("strategy", default)),
        model=how.get("model"),
        task_class=how.get("task_class"),
    )
    limits = Constraints(
        min_quality=how.get("quality"),
        max_cost_nanousd=_nanousd(how.get("max_cost_usd")),
        deadline_ms=how.get("deadline_ms"),
        tiers=frozenset(map(Tier, how["tiers"])) if how.get("tiers") else None,
    )
    return replace(request, constraints=limits)


def _nanousd(dollars: str | None) -> int | None:
    if dollars is None:
        return None
    try:
        value = Decimal(dollars)
    except InvalidOperation as error:
        raise InvalidInput(
            f"--max-cost-usd is {dollars!r}; give dollars, such as 0.01.", field="max_cost_usd"
        ) from error
    if not value.is_finite() or value < 0:
        raise InvalidInput(f"--max-cost-usd is {dollars!r}; give dollars from 0 up.", field="max_cost_usd")
    return int(value * NANOUSD_PER_USD)
