"""`pennyroute explain` where nothing runs, and on the running house."""

from __future__ import annotations

import io
import json
import re
import socket

import pytest
from rich.console import Console

from orchestrator.cli.explain_page import show_explanation
from tests.cli.conftest import Cli


def test_where_no_api_runs_it_works_from_what_is_shipped_and_says_so(cli: Cli) -> None:
    shown = cli("explain", "--all", "What is 2+2?")
    assert shown.exit_code == 0
    assert "No API was asked: this is the shipped policy and artefact" in shown.stdout
    assert re.search(r"→ \S+ would be asked first\. The plan is predicted to be right \d+% of the time", shown.stdout)
    assert "No model was called and nothing was spent." in shown.stdout


def test_the_page_holds_what_a_newcomer_needs_in_order(cli: Cli) -> None:
    shown = cli("explain", "--all", "Compare renting and buying a flat and discuss the trade-offs.").stdout
    headings = (
        "What would happen",
        "The plan, as a ladder",
        "1. What the prompt looks like",
        "2. How hard it reads",
        "3. Who could answer",
        "4. The plans that were weighed",
    )
    places = [shown.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "how much it asks to compare, justify or plan (0 to 1)" in shown
    assert "└── if it is graded below 0.5: 2. claude-sonnet (premium)" in shown
    assert "not on the policy's ladder for medium" in shown
    assert "The cheapest plan of at least" in shown


def test_without_any_key_it_says_what_would_make_each_model_available(cli: Cli) -> None:
    told = json.loads(cli("explain", "--json", "Hi!").stdout)
    assert told["refused"]["code"] == "no_model_available"
    assert "--all shows the choice among all of them" in told["offline"]
    assert any("ANTHROPIC_API_KEY" in one["why_not"] for one in told["candidates"])


def test_only_models_whose_key_is_set_count_offline(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-very-secret")
    shown = cli("explain", "--offline", "--json", "Hi!")
    told = json.loads(shown.stdout)
    assert [rung["model"] for rung in told["plan"]] == ["claude-sonnet"]
    assert "very-secret" not in shown.stdout


def test_an_address_where_nothing_answers_is_told_as_offline(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert "No API was asked" in cli("explain", "--url", url, "Hi!").stdout


def test_the_options_of_a_request_count(cli: Cli) -> None:
    def first(*options: str) -> tuple[str, str]:
        told = json.loads(cli("explain", "--all", "--json", *options, "Hi!").stdout)
        model = told["plan"][0]["model"]
        return model, next(one["tier"] for one in told["candidates"] if one["model"] == model)

    assert first()[1] == "local"
    assert first("--strategy", "premium_only") == ("claude-sonnet", "premium")
    assert first("--tier", "mid") == ("deepseek-chat", "mid")
    assert first("--model", "gpt-4o") == ("gpt-4o", "premium")
    assert first("--strategy", "premium_only", "--max-cost-usd", "1") == ("claude-sonnet", "premium")


def test_what_nobody_may_answer_is_explained_not_failed(cli: Cli) -> None:
    shown = cli("explain", "--all", "--strategy", "premium_only", "--max-cost-usd", "0.0000001", "Hi!")
    assert shown.exit_code == 0
    assert "✗ Nobody may answer (not_eligible)" in shown.stdout
    assert "would cost about" in shown.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("explain",), 'Try `pennyroute explain "What is 2+2?"`'),
        (("explain", "--all", "--max-cost-usd", "much", "Hi!"), "--max-cost-usd is 'much'; give dollars"),
        (("explain", "--all", "--max-cost-usd", "-1", "Hi!"), "--max-cost-usd is '-1'; give dollars from 0 up"),
        (("explain", "--all", "--model", "claude-sonet", "Hi!"), "'claude-sonnet'"),
    ],
)
def test_wrong_words_are_one_clear_line(cli: Cli, words: tuple[str, ...], told: str) -> None:
    shown = cli(*words)
    assert shown.exit_code == 1
    assert told in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_dash_reads_standard_input_and_markup_in_a_prompt_is_only_text(cli: Cli) -> None:
    shown = cli("explain", "--all", "-", given="[bold]Hi[/bold] [/red]")
    assert shown.exit_code == 0
    assert "[bold]Hi[/bold] [/red]" in shown.stdout


CONTRACT = {
    **{"task_class": "support", "state": "met", "epsilon": 0.05, "delta": 0.1, "weak": "small", "reference": "big"},
    **{"version": "v", "kept": True, "reads": "query", "score": 0.012, "threshold": 0.043, "more_labels": None},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "It is met: certified on labels. small answers below a score of +0.043. This prompt's score is +0.012."),
        ({"state": "uncertified", "threshold": None, "more_labels": 300}, "About 300 more labels are needed."),
        (
            {"reads": "answer", "score": None, "threshold": 0.69},
            "small's answer is served where it is graded above 0.690.",
        ),
        ({"kept": False}, "This plan cannot keep it: its reference may not be called."),
    ],
)
def test_a_contract_is_told_in_words(cli: Cli, changes: dict[str, object], words: str) -> None:
    told = json.loads(cli("explain", "--all", "--json", "Hi!").stdout)
    plan = [
        {"model": "fair", "threshold": 2.0, "fallback": False, "p_adequate": 0.7},
        {"model": "small", "threshold": 0.69, "fallback": False, "p_adequate": 0.5},
        {"model": "big", "threshold": 0.5, "fallback": False, "p_adequate": 0.9},
    ]
    console = Console(width=160, record=True, file=io.StringIO())
    show_explanation(console, "Hi!", {**told, "contract": {**CONTRACT, **changes}, "plan": plan})
    shown = console.export_text()
    assert words in shown
    assert "answers are on average at least 95.0% as good as big's, with probability 90%" in shown
    assert "that answer is only there to compare with; then 2. small" in shown
    assert "if it is graded below 0.69: 3. big" in shown


@pytest.mark.slow
def test_a_running_house_is_asked_and_its_own_models_count(house_cli: Cli) -> None:
    told = json.loads(house_cli("explain", "--json", "Hi!").stdout)
    answer = json.loads(house_cli("route", "--json", "Hi!").stdout)
    assert told["offline"] is None
    assert told["plan"][0]["model"] == answer["model"] == "replay-local/recorded-small"
    assert told["reason"] == answer["why"]["reason"]
    shown = house_cli("explain", "--system", "Be brief.", "What is 2+2?").stdout
    assert "No API was asked" not in shown
    assert "replay-local/recorded-small would be asked first" in shown
    assert json.loads(house_cli("explain", "--offline", "--json", "Hi!").stdout)["offline"]
