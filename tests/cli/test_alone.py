"""The command where nothing runs: it teaches, works from the cards, and fails in one clear line."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from orchestrator.cli.app import app
from orchestrator.settings import Settings
from tests.cli.conftest import Cli

COMMANDS = (
    ("up",),
    ("demo",),
    ("doctor",),
    ("route",),
    ("log",),
    ("stats",),
    ("label",),
    ("contracts", "list"),
    ("contracts", "certify"),
    ("contracts", "revoke"),
    ("models", "list"),
    ("models", "info"),
    ("registry", "check"),
    ("config",),
    ("config", "set"),
    ("config", "unset"),
    ("keys", "create"),
    ("db", "push"),
    ("ledger", "verify"),
)
ASKING = (
    ("route", "Hi!"),
    ("log",),
    ("stats",),
    ("label", "0193", "claude-sonnet=1"),
    ("contracts", "list"),
    ("contracts", "revoke", "support"),
    ("config", "set", "store_texts", "false"),
    ("config", "unset", "store_texts"),
    ("keys", "create", "app"),
    ("db", "push"),
    ("ledger", "verify"),
)


def test_the_first_help_names_the_first_five_minutes_and_every_command(cli: Cli) -> None:
    shown = cli("--help")
    assert shown.exit_code == 0
    assert "First five minutes" in shown.stdout
    assert {command[0] for command in COMMANDS} <= set(shown.stdout.split())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(cli: Cli, command: tuple[str, ...]) -> None:
    shown = cli(*command, "--help")
    assert shown.exit_code == 0
    assert f"pennyroute {' '.join(command)}" in " ".join(shown.stdout.split())


def test_every_command_that_looks_or_changes_can_answer_in_json(cli: Cli) -> None:
    for command in COMMANDS:
        if command != ("up",):
            assert "--json" in cli(*command, "--help").stdout, command


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_without_a_server_each_command_says_in_one_line_how_to_get_one(cli: Cli, command: tuple[str, ...]) -> None:
    told = cli(*command)
    assert told.exit_code == 1
    assert told.stdout == ""
    assert told.stderr.startswith("Error (not_running) ")
    assert "`pennyroute up`" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_named_server_that_does_not_answer_is_named(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for command in (("stats",), ("models", "list"), ("config",)):
        told = cli(*command, "--url", url)
        assert told.exit_code == 1
        assert f"Nothing answers at {url} (" in told.stderr


def test_wrong_usage_exits_with_2_and_names_the_option(cli: Cli) -> None:
    told = cli("route", "--max-tokens", "0", "Hi!")
    assert told.exit_code == 2
    assert "--max-tokens" in told.stderr


def test_debug_shows_where_an_error_came_from(cli: Cli) -> None:
    told = cli("--debug", "stats")
    assert type(told.exception).__name__ == "NotRunning"


def test_an_empty_route_says_what_to_type(cli: Cli) -> None:
    told = cli("route")
    assert told.exit_code == 1
    assert 'Try `pennyroute route "What is 2+2?"`' in told.stderr


def test_models_are_listed_from_the_cards(cli: Cli) -> None:
    shown = cli("models", "list", "--tier", "builtin", "--json")
    assert [model["id"] for model in json.loads(shown.stdout)] == [
        "minilm-l6-builtin",
        "ppocr-rapidocr",
        "toxicity-wordlist",
        "vader",
    ]
    assert "these are the cards" in cli("models", "list", "--task", "embed").stdout


def test_a_card_shows_its_prices_with_their_source(cli: Cli) -> None:
    shown = cli("models", "info", "gpt-4o").stdout
    assert "price from" in shown
    assert "$2.50" in shown
    assert "genai-prices" in shown


def test_a_mistyped_model_is_told_the_nearest(cli: Cli) -> None:
    told = cli("models", "info", "claude-sonet")
    assert told.exit_code == 1
    assert "'claude-sonnet'" in told.stderr


def test_the_registry_check_lists_findings_and_fails_only_for_errors(cli: Cli) -> None:
    shown = cli("registry", "check", "--json")
    found = json.loads(shown.stdout)["findings"]
    assert shown.exit_code == (1 if any(one["level"] == "error" for one in found) else 0)
    assert any(one["level"] == "unverified" for one in found)


def test_config_says_where_each_value_comes_from_and_hides_secrets(
    cli: Cli, no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_settings / "pennyroute.toml").write_text('port = 9000\nhost = "127.0.0.2"\n')
    monkeypatch.setenv("PENNYROUTE_HOST", "127.0.0.3")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-very-secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres:very-secret@db/app")
    shown = cli("config", "--json")
    rows = {row["name"]: (row["value"], row["source"]) for row in json.loads(shown.stdout)["settings"]}
    assert set(rows) == set(Settings.model_fields)
    assert rows["port"] == (9000, "file")
    assert rows["host"] == ("127.0.0.3", "environment")
    assert rows["call_timeout_s"] == (60.0, "default")
    assert rows["anthropic_api_key"] == ("(set, hidden)", "environment")
    assert "very-secret" not in shown.stdout + cli("config").stdout


def test_a_wrong_setting_is_one_line_that_names_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENNYROUTE_PORT", "many")
    told = cli("stats")
    assert told.exit_code == 1
    assert told.stderr.startswith("Error (invalid_config) setting port from PENNYROUTE_PORT is 'many'")


def test_the_doctor_names_what_is_missing_and_the_command_that_mends_it(cli: Cli) -> None:
    shown = cli("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(shown.stdout)}
    assert checks["python"]["ok"]
    assert not checks["key anthropic"]["ok"]
    assert checks["key anthropic"]["mend"].startswith("export ANTHROPIC_API_KEY=")
    assert checks["api"]["mend"] == "pennyroute up"
    assert not checks["api"]["needed"]
    assert "→ pennyroute up" in cli("doctor").stdout


def test_the_doctor_fails_when_a_configured_database_does_not_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("DATABASE_URL", f"postgresql://postgres@127.0.0.1:{port}/none")
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}/0")
    shown = cli("doctor")
    assert shown.exit_code == 1
    assert "correct DATABASE_URL, or unset it" in shown.stdout
    assert "correct REDIS_URL, or unset it" in shown.stdout


def test_the_doctor_does_not_repeat_a_malformed_address(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres//me:secret@db/app")
    monkeypatch.setenv("REDIS_URL", "rediss//:secret@db/0")
    shown = cli("doctor")
    assert "its address is no Postgres URL" in shown.stdout
    assert "secret" not in shown.stdout


def test_the_key_of_the_data_folder_is_not_sent_to_another_server(cli: Cli, no_settings: Path) -> None:
    from orchestrator.cli.server import find_place  # noqa: PLC0415 - beside the one test that looks inside
    from orchestrator.settings import load  # noqa: PLC0415

    run, secrets = no_settings / "data" / "run", no_settings / "data" / "secrets"
    run.mkdir(parents=True)
    secrets.mkdir()
    (secrets / "admin-key").write_text("local-secret\n")
    told = {"address": "http://127.0.0.1:8000", "key_file": str(secrets / "admin-key")}
    (run / "house.json").write_text(json.dumps(told))
    assert find_place(load(), None, None, None).key == "local-secret"
    assert find_place(load(), "https://elsewhere.example", None, None).key is None
    assert app.info.no_args_is_help
