"""`pennyroute policy`: shown, changed, put in force and rolled back on a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.core.routing.policy import RoutingPolicy
from tests.cli.conftest import Cli


def test_the_default_is_shown_without_a_database_and_reads_back(cli: Cli) -> None:
    shown = cli("policy", "show", "default")
    assert shown.exit_code == 0
    assert RoutingPolicy.from_dict(json.loads(shown.stdout)).version == RoutingPolicy().version


def test_a_policy_with_a_rule_is_put_in_force_and_rolled_back(cli: Cli, postgres_url: str, tmp_path: Path) -> None:
    there = ("--database-url", postgres_url)
    told = RoutingPolicy().as_dict()
    rule = {"name": "interns", "users": ["intern-*"], "strategy": "local_only"}
    file = tmp_path / "strict.json"
    file.write_text(json.dumps({**told, "rules": [rule]}))
    made = cli("policy", "activate", str(file), *there)
    assert made.exit_code == 0, made.stderr
    version = made.stdout.split()[2]
    current = json.loads(cli("policy", "show", *there).stdout)
    assert current["rules"][0]["users"] == ["intern-*"]
    assert cli("policy", "activate", "default", "--name", "plain", *there).exit_code == 0
    assert json.loads(cli("policy", "show", *there).stdout)["rules"] == []
    rows = json.loads(cli("policy", "list", "--json", *there).stdout)
    assert [row["active"] for row in rows] == [True, False]
    assert {row["name"] for row in rows} == {"plain", "strict"}
    assert cli("policy", "activate", version, *there).exit_code == 0
    assert json.loads(cli("policy", "show", *there).stdout)["rules"][0]["name"] == "interns"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"laders": {}}, "has unknown fields: laders"),
        ({"ladders": {"simple": ["lokal"]}}, "ladder entry 'lokal' is no role"),
        ({"rules": [{"name": "r", "strategy": "cheap"}]}, "'cheap' is not a valid Strategy"),
        ([1], "a policy is a JSON object"),
    ],
)
def test_a_policy_that_cannot_route_is_refused_and_nothing_changes(
    cli: Cli, postgres_url: str, tmp_path: Path, content: object, said: str
) -> None:
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(content))
    shown = cli("policy", "activate", str(file), "--database-url", postgres_url)
    assert shown.exit_code == 1
    assert said in " ".join(shown.stderr.split())
    assert cli("policy", "list", "--json", "--database-url", postgres_url).stdout.strip() == "[]"
