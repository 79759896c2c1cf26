"""The command on the whole running house, with recorded answers in place of the providers."""

from __future__ import annotations

import json

import pytest

from orchestrator.house import House
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


def test_a_prompt_is_answered_and_below_it_stands_why(house_cli: Cli) -> None:
    shown = house_cli("route", "Hi!")
    assert shown.exit_code == 0
    answer, story = shown.stdout.strip().splitlines()
    assert answer.startswith("This is a synthetic answer: no model was asked.")
    assert story.startswith("replay-local/recorded-small · local · $0.00 · ")
    assert "simple" in story


def test_forgotten_quotes_make_one_prompt_and_a_dash_reads_standard_input(house_cli: Cli) -> None:
    assert house_cli("route", "What", "is", "2+2?").exit_code == 0
    answer = json.loads(house_cli("route", "--json", "-", given="What is 2+2?").stdout)
    assert answer["why"]["complexity"] == "simple"


def test_a_named_model_is_paid_and_its_cost_exact(house_cli: Cli) -> None:
    answer = json.loads(house_cli("route", "--json", "--model", "claude-sonnet", "--max-tokens", "50", "Hi!").stdout)
    assert (answer["model"], answer["tier"]) == ("claude-sonnet", "premium")
    assert answer["cost_nanousd"] > 0
    assert answer["cost_nanousd"] == sum(attempt["cost_nanousd"] for attempt in answer["why"]["attempts"])


def test_a_stream_shows_the_words_and_ends_with_the_story(house_cli: Cli) -> None:
    shown = house_cli("route", "--stream", "Hi!")
    words, story = shown.stdout.strip().splitlines()
    assert words.startswith("This is a synthetic answer")
    assert "recorded-small · local" in story
    lines = [json.loads(line) for line in house_cli("route", "--stream", "--json", "Hi!").stdout.splitlines()]
    assert "".join(line["text"] for line in lines[:-1]) == lines[-1]["output"]


def test_sentiment_and_stored_embeddings_are_real(house_cli: Cli) -> None:
    lovely, broken = house_cli(
        "route", "--task", "sentiment", "What a lovely day!", "This is awful."
    ).stdout.splitlines()[:2]
    assert json.loads(lovely)["label"] == "positive"
    assert json.loads(broken)["label"] == "negative"
    shown = house_cli("route", "--task", "embed", "--store", "A penny saved is a penny earned.").stdout
    assert "384 dimensions" in shown


def test_an_unknown_model_is_one_line_from_the_server(house_cli: Cli) -> None:
    told = house_cli("route", "--model", "claude-sonet", "Hi!")
    assert told.exit_code == 1
    assert told.stderr.startswith("Error (model_not_found) ")
    assert len(told.stderr.splitlines()) == 1


def test_log_and_stats_show_the_same_money(house_cli: Cli) -> None:
    house_cli("route", "--model", "deepseek-chat", "Hi!")
    rows = json.loads(house_cli("log", "-n", "1000", "--json").stdout)
    stats = json.loads(house_cli("stats", "--json").stdout)
    assert sum(row["cost_nanousd"] for row in rows) == stats["cost_nanousd"] > 0
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert "deepseek-chat" in house_cli("log", "-n", "1").stdout
    shown = house_cli("stats").stdout
    assert "total $" in shown
    assert "of $200.00 a month" in shown


def test_models_can_be_called_or_say_what_is_missing(house_cli: Cli) -> None:
    models = {model["id"]: model for model in json.loads(house_cli("models", "list", "--json").stdout)}
    assert models["claude-sonnet"]["available"]
    assert models["replay-local/recorded-small"]["available"]
    assert not models["donut"]["available"]
    assert models["donut"]["missing"]
    assert "replay-local" in house_cli("models", "list", "--task", "generate", "--available").stdout
    assert "Claude" in house_cli("models", "info", "claude-sonnet").stdout


def test_a_live_setting_is_changed_shown_as_the_databases_and_taken_back(house_cli: Cli) -> None:
    assert house_cli("config", "set", "call_timeout_s", "41.5").stdout == "call_timeout_s is now 41.5\n"
    rows = {row["name"]: row for row in json.loads(house_cli("config", "--json").stdout)["settings"]}
    assert (rows["call_timeout_s"]["value"], rows["call_timeout_s"]["source"]) == (41.5, "database")
    assert house_cli("config", "unset", "call_timeout_s").exit_code == 0
    rows = {row["name"]: row for row in json.loads(house_cli("config", "--json").stdout)["settings"]}
    assert (rows["call_timeout_s"]["value"], rows["call_timeout_s"]["source"]) == (60.0, "default")


@pytest.mark.parametrize(("name", "value"), [("port", "9000"), ("call_timeout_s", "-1")])
def test_a_setting_that_cannot_be_changed_so_is_refused(house_cli: Cli, name: str, value: str) -> None:
    told = house_cli("config", "set", "--", name, value)
    assert told.exit_code == 1
    assert name in told.stderr


def test_a_made_key_opens_the_api_as_far_as_its_role(house_cli: Cli, house: House) -> None:
    made = json.loads(house_cli("keys", "create", "dashboard", "--role", "viewer", "--tenant", "acme", "--json").stdout)
    assert (made["name"], made["tenant"], made["role"]) == ("dashboard", "acme", "viewer")
    assert made["key"].startswith("pr_")
    assert house_cli("stats", "--url", house.address, "--key", made["key"]).exit_code == 0
    told = house_cli("route", "--url", house.address, "--key", made["key"], "Hi!")
    assert (told.exit_code, told.stderr.split(")")[0]) == (1, "Error (forbidden")
    assert house_cli("stats", "--url", house.address, "--key", "pr_wrong").stderr.startswith("Error (unauthorized)")


def test_the_ledger_adds_up_and_the_schema_is_the_newest(house_cli: Cli) -> None:
    assert "The ledger adds up" in house_cli("ledger", "verify").stdout
    assert house_cli("db", "push").stdout.startswith("nothing to apply; ")


def test_the_doctor_sees_the_running_house(house_cli: Cli, house: House) -> None:
    shown = house_cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(shown.stdout)}
    assert checks["api"]["detail"] == f"answers at {house.address}"
    assert checks["database"]["ok"]
    assert checks["redis"]["ok"]
    assert checks["  queue:sentiment"]["ok"]
