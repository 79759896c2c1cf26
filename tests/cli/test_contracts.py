"""`pennyroute contracts` and `label` on files, on a database and on the whole house."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from orchestrator.house import House
from pennyroute import Answer, Pennyroute
from tests.cli.conftest import Cli

WEAK, REFERENCE = "llama-3.2-1b-instruct", "claude-sonnet"
MODELS = ("--weak", WEAK, "--reference", REFERENCE)
TOPICS = ("lemma", "river", "castle", "flower", "engine", "planet", "violin", "harbour")


def as_good(text: str) -> float:
    return 0.95


def poor_at_proofs(text: str) -> float:
    return 0.2 if "prove" in text else 0.95


def judged(file: Path, n: int, right: Callable[[str], float], **names: str) -> Path:
    """`n` questions; the reference is right in 9 of 10, the weak model as often as `right` says."""
    dice = np.random.default_rng(1)
    lines = []
    for _ in range(n):
        text = f"{dice.choice(['prove', 'name'])} the {' '.join(dice.choice(TOPICS, 4))}"
        outcomes = {
            names.get("weak", WEAK): float(dice.random() < right(text)),
            names.get("reference", REFERENCE): float(dice.random() < 0.9),
        }
        lines.append(json.dumps({"text": text, "outcomes": outcomes}))
    file.write_text("\n".join(lines))
    return file


def told(cli: Cli, *words: str) -> Any:
    shown = cli(*words, "--json")
    assert shown.exit_code == 0, shown.stderr
    return json.loads(shown.stdout)


def test_a_dry_run_needs_nothing_but_the_file(cli: Cli, tmp_path: Path) -> None:
    file = judged(tmp_path / "judged.jsonl", 600, as_good)
    shown = cli("contracts", "certify", str(file), "--task-class", "quiz", *MODELS, "--dry-run")
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"met: {WEAK} may answer on quiz\n")
    assert "600" in shown.stdout
    assert "Nothing was changed (--dry-run)." in shown.stdout
    assert "600 of 600 labels know both models' outcomes" in shown.stderr


def test_rows_of_the_routing_benchmark_are_read_as_they_are(cli: Cli, tmp_path: Path) -> None:
    """`score_fixed` outranks `score`, names stand for cards by --map, and the file may be packed."""
    rows = [
        {
            "id": f"q{number}",
            "dataset": "quiz",
            "query": f"name river {number}",
            "split_key": f"q{number}",
            "in_tok": 9,
            "models": {"small": {"score": 0, "score_fixed": 1, "out_tok": 3}, "large": {"score": 1, "usd": 0.01}},
        }
        for number in range(200)
    ]
    file = tmp_path / "quiz.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    names = ("--map", f"small={WEAK}", "--map", f"large={REFERENCE}")
    found = told(
        cli, "contracts", "certify", str(file), "--task-class", "quiz", *MODELS, *names, "--epsilon", "0.1", "--dry-run"
    )
    certificate = found["certificate"]
    assert (certificate["state"], certificate["n"], certificate["weak_share"]) == ("met", 200, 1.0)
    assert certificate["margin"] == pytest.approx(0.1)
    assert not found["in_force"]


def test_learning_shows_how_much_better_the_own_score_orders(cli: Cli, tmp_path: Path) -> None:
    file = judged(tmp_path / "judged.jsonl", 1_000, poor_at_proofs)
    words = ("contracts", "certify", str(file), "--task-class", "quiz", *MODELS, "--dry-run")
    plain, learned = told(cli, *words), told(cli, *words, "--learn")
    assert plain["learned"] is None
    assert learned["learned"]["apgr_after"] > learned["learned"]["apgr_before"]
    assert learned["certificate"]["weak_share"] > 0.4
    assert learned["scorer"] != plain["scorer"]
    assert "APGR" in cli(*words, "--learn").stdout


def test_a_contract_is_made_on_a_database_and_taken_back_there(cli: Cli, postgres_url: str, tmp_path: Path) -> None:
    there = ("--database-url", postgres_url)
    file = judged(tmp_path / "judged.jsonl", 800, poor_at_proofs)
    made = told(cli, "contracts", "certify", str(file), "--task-class", "quiz", *MODELS, "--learn", *there)
    assert made["in_force"]
    assert active(postgres_url)["contracts"][0]["certificate"]["state"] == made["certificate"]["state"] == "met"
    assert (active(postgres_url)["scorer"], active(postgres_url)["contracts"][0]["scorer"]) == (None, made["scorer"])
    assert cli("contracts", "revoke", "quiz", *there).stdout == f"revoked: quiz, {WEAK}; {REFERENCE} answers\n"
    assert active(postgres_url)["contracts"][0]["certificate"]["state"] == "revoked"
    wrong = cli("contracts", "revoke", "essay", *there)
    assert wrong.exit_code == 1
    assert wrong.stderr.startswith("Error (not_found) no contract of class 'essay'; there are: quiz")


def active(url: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute("select policy from routing_policies where activated_at is not null").fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--weak", "lama", "--reference", REFERENCE), "--weak 'lama': No model 'lama' in the registry"),
        (("--weak", WEAK, "--reference", WEAK), "one of them is named twice"),
        ((*MODELS, "--map", "small"), "--map 'small' names no pair; write RECORDED=CARD"),
        (("--weak", WEAK, "--reference", "gpt-4o"), f"with outcomes of: {REFERENCE}, {WEAK}"),
    ],
)
def test_what_cannot_be_promised_is_one_line(cli: Cli, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    file = judged(tmp_path / "judged.jsonl", 10, as_good)
    shown = cli("contracts", "certify", str(file), "--task-class", "quiz", "--dry-run", *words)
    assert shown.exit_code == 1
    (line,) = [line for line in shown.stderr.splitlines() if line.startswith("Error")]
    assert said in line


def test_without_a_database_only_a_dry_run_on_a_file_goes(cli: Cli, tmp_path: Path) -> None:
    file = judged(tmp_path / "judged.jsonl", 10, as_good)
    for words in ((str(file),), ("log", "--dry-run")):
        shown = cli("contracts", "certify", *words, "--task-class", "quiz", *MODELS)
        assert shown.exit_code == 1
        assert "Error (not_running) No database is known" in shown.stderr


def test_a_label_that_is_no_pair_is_told_so(cli: Cli) -> None:
    for pair in ("claude-sonnet", "claude-sonnet=good"):
        shown = cli("label", "0193", pair, "--url", "http://127.0.0.1:9")
        assert shown.exit_code == 1
        assert f"{pair!r} is no MODEL=QUALITY" in shown.stderr


@pytest.mark.slow
def test_on_the_whole_house_labels_certify_and_the_contract_routes(
    house_cli: Cli, house: House, tmp_path: Path
) -> None:
    weak = "replay-local/recorded-small"
    file = judged(tmp_path / "judged.jsonl", 500, as_good, weak=weak)
    words = ("--task-class", "house-quiz", "--weak", weak, "--reference", REFERENCE, "--epsilon", "0.1")
    made = told(house_cli, "contracts", "certify", str(file), *words)["certificate"]
    assert (made["state"], made["weak_share"]) == ("met", 1.0)
    with Pennyroute(house.address, house.key_file.read_text().strip()) as client:
        answer = until_promised(client)
    assert answer.why["contract"]["state"] == "met"
    kept = told(house_cli, "label", answer.id, f"{answer.model}=1", f"{REFERENCE}=1", "--source", "tests")
    assert (kept["new"], kept["task_class"], kept["served"]) == (True, "house-quiz", answer.model)
    shown = house_cli("contracts", "list").stdout
    assert f"≥ 95.0% of {REFERENCE}" not in shown
    assert f"≥ 90.0% of {REFERENCE}, 90% sure" in shown
    assert f"met: {weak} may answer about 100% of requests" in shown
    (contract,) = (
        each for each in told(house_cli, "contracts", "list")["contracts"] if each["task_class"] == "house-quiz"
    )
    assert contract["watch"]["rows"] == 1
    assert house_cli("contracts", "revoke", "house-quiz").exit_code == 0


def until_promised(client: Pennyroute) -> Answer:
    """The running API follows a new policy within seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = client.route("name the river of the castle", task_class="house-quiz")
        if answer.why["contract"] is not None:
            return answer
    raise AssertionError("the API never heard of the contract")
