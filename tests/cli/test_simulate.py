"""`pennyroute simulate` on small files whose figures are known, and on the labels of a real database."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.cli.simulate_table import sentence
from orchestrator.core.replay.evaluate import Interval
from orchestrator.core.replay.simulate import Difference
from orchestrator.core.routing.policy import RoutingPolicy
from tests.cli.conftest import Cli

EASY = ("What is the capital of France?", "What is 2+2?", "Who wrote Hamlet?", "What colour is the sky?")
HARD = "Design and implement a FastAPI server with a Postgres database schema."


def row(text: str, small: float, big: float, **changes: Any) -> dict[str, Any]:
    models = {"small": {"score": small, "out_tok": 100}, "big": {"score": big, "out_tok": 100}}
    return {"id": text, "query": text, "in_tok": 1_000, "models": models, **changes}


ROWS = [row(text, small, 1) for text, small in zip(EASY, (1, 1, 1, 0), strict=True)] + [row(HARD, 0, 1)]


def write(file: Path, rows: Sequence[object]) -> str:
    text = "".join(json.dumps(each) + "\n" for each in rows)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return str(file)


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write(tmp_path / "rows.jsonl.gz", ROWS)


def told(cli: Cli, *words: str) -> dict[str, Any]:
    shown = cli("simulate", "--json", *words)
    assert shown.exit_code == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def test_the_easy_rows_stay_local_and_the_hard_one_is_paid(cli: Cli, data: str) -> None:
    found = told(cli, "--data", data)
    (policy,) = found["policies"]
    assert found["rows"] == 5
    assert policy["shares"] == {"small": 0.8, "big": 0.2}
    assert policy["quality"][0] == 0.8
    # one of five rows at claude-sonnet's price: (1,000 × $2 + 100 × $10) / 1,000,000 = $0.003, times 1,000 requests
    assert policy["cost_usd_per_1000"][0] == pytest.approx(0.6)
    assert [seat["card"] for seat in found["seats"]] == ["llama-3.2-1b-instruct", "claude-sonnet"]
    assert (found["cheapest"], found["best"]) == ("small", "big")


def test_the_baselines_are_the_models_alone_and_the_oracle(cli: Cli, data: str) -> None:
    small, big, oracle = told(cli, "--data", data)["baselines"]
    assert (small["quality"][0], small["cost_usd_per_1000"][0]) == (0.6, 0.0)
    assert (big["quality"][0], big["cost_usd_per_1000"][0]) == (1.0, pytest.approx(3.0))
    assert (oracle["quality"][0], oracle["cost_usd_per_1000"][0]) == (1.0, pytest.approx(1.2))


def test_people_get_tables_a_sentence_and_what_it_rests_on(cli: Cli, data: str) -> None:
    shown = cli("simulate", "--data", data).stdout
    assert "5 rows of rows.jsonl.gz" in shown
    assert "the lowest stands for local, the highest for premium" in shown
    assert "always big (best)" in shown
    assert "default's shares, dealt blindly" in shown
    assert "default costs 80% [40, 100] less than always big at quality −20.0 [−60.0, +0.0] points." in shown
    assert "of 5 rows the first model's answer was not kept, so it was served unread" in shown


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (
            Interval(value=-0.31, low=-0.34, high=-0.28),
            "B costs 31% [28, 34] less than A at quality −0.4 [−1.1, +0.3] points.",
        ),
        (
            Interval(value=0.5, low=0.25, high=0.75),
            "B costs 50% [25, 75] more than A at quality −0.4 [−1.1, +0.3] points.",
        ),
        (
            Interval(value=-0.04, low=-0.1, high=0.004),
            "B costs 4% [0, 10] less than A at quality −0.4 [−1.1, +0.3] points.",
        ),
        (
            Interval(value=-0.04, low=-0.1, high=0.02),
            "B costs 4% [−2, 10] less than A at quality −0.4 [−1.1, +0.3] points.",
        ),
        (
            Interval(value=0.0, low=-0.01, high=0.01),
            "B costs as much as A [−1.0%, +1.0%] at quality −0.4 [−1.1, +0.3] points.",
        ),
        (
            Interval(value=nan, low=nan, high=nan),
            "B costs something where A costs nothing, at quality −0.4 [−1.1, +0.3] points.",
        ),
    ],
)
def test_a_difference_is_one_sentence(cost: Interval, words: str) -> None:
    quality = Interval(value=-0.004, low=-0.011, high=0.003)
    assert sentence(Difference(first="A", second="B", cost_share=cost, quality=quality)) == words


def test_answers_kept_beside_the_file_are_judged_and_escalate(cli: Cli, data: str, tmp_path: Path) -> None:
    answers = [{"id": text, "model": "small", "output": "I'm sorry, but I can't help with that."} for text in EASY]
    write(tmp_path / "rows.weak_outputs.jsonl.gz", answers)
    found = told(cli, "--data", data)
    (policy,) = found["policies"]
    assert (policy["judged"], policy["escalated"]) == (4, 4)
    assert policy["quality"][0] == 1.0
    assert any("rows.weak_outputs.jsonl.gz holds raw answers to 4 of the rows" in note for note in found["notes"])


def test_two_policies_are_compared_on_the_same_draws(cli: Cli, data: str, tmp_path: Path) -> None:
    strict = RoutingPolicy(slack=dict.fromkeys(RoutingPolicy().slack, 0.0))
    file = tmp_path / "strict.json"
    file.write_text(json.dumps(strict.as_dict()))
    found = told(cli, "--data", data, "--policy", "default", "--policy", str(file))
    assert [policy["name"] for policy in found["policies"]] == ["default", "strict"]
    assert found["policies"][1]["version"] == strict.version
    (difference,) = found["differences"]
    assert (difference["first"], difference["second"]) == ("default", "strict")
    assert difference["cost_share"][0] == pytest.approx(4.0)  # five paid rows instead of one
    assert difference["words"].startswith("strict costs 400% [")
    assert "at quality +20.0 [+0.0, +60.0] points." in difference["words"]


def test_the_same_seed_gives_the_same_intervals(cli: Cli, data: str) -> None:
    def intervals(seed: str) -> Any:
        return told(cli, "--data", data, "--seed", seed)["policies"][0]["cost_usd_per_1000"]

    assert intervals("3") == intervals("3")


def test_the_caller_says_who_stands_for_whom(cli: Cli, data: str) -> None:
    mapped = ("--map", "small=deepseek-chat", "--map", "big=gpt-4o")
    found = told(cli, "--data", data, *mapped)
    assert [seat["card"] for seat in found["seats"]] == ["deepseek-chat", "gpt-4o"]
    assert found["seated"] == "as --map says"


def test_recorded_dollars_can_count_instead(cli: Cli, tmp_path: Path) -> None:
    models = {"small": {"score": 1, "usd": 0.001, "out_tok": 1}, "big": {"score": 1, "usd": 0.01, "out_tok": 1}}
    data = write(tmp_path / "rows.jsonl", [row("Hi!", 1, 1, models=models)])
    found = told(cli, "--data", data, "--costs", "recorded", "--weak", "small", "--strong", "big")
    assert found["policies"][0]["cost_usd_per_1000"][0] == 1.0
    assert found["costed"] == {"recorded dollars": 2}


def test_labels_in_a_file_are_rows_too_and_incomplete_ones_are_left_out(cli: Cli, tmp_path: Path) -> None:
    labels = [
        {"text": "Hi!", "outcomes": {"llama-3.2-1b-instruct": 1, "claude-sonnet": 1}},
        {"text": "Ho!", "outcomes": {"claude-sonnet": 1}},
    ]
    found = told(cli, "--data", write(tmp_path / "labels.jsonl", labels))
    assert (found["rows"], found["rows_left_out"]) == (1, 1)
    assert found["seated"] == "each under its own card"


def test_the_chart_is_one_file_that_needs_no_other(cli: Cli, data: str, tmp_path: Path) -> None:
    page = tmp_path / "chart.html"
    assert cli("simulate", "--data", data, "--html", str(page)).exit_code == 0
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") == 1
    assert "always big" in text
    assert "default costs 80%" in text


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="the extra `plots` is not installed")
def test_the_chart_is_an_image_where_matplotlib_is_installed(cli: Cli, data: str, tmp_path: Path) -> None:
    image = tmp_path / "chart.png"
    assert cli("simulate", "--data", data, "--png", str(image)).exit_code == 0
    assert image.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_matplotlib_it_says_how_to_get_it_before_any_work(
    cli: Cli, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.simulate_plot.find_spec", lambda name: None)
    shown = cli("simulate", "--data", data, "--png", str(tmp_path / "chart.png"))
    assert shown.exit_code == 1
    assert "pennyroute[plots]" in shown.stderr
    assert not (tmp_path / "chart.png").exists()


def test_rows_of_a_set_that_the_artefact_has_seen_are_called_so(cli: Cli, tmp_path: Path) -> None:
    seen = write(tmp_path / "seen.jsonl", [{**each, "dataset": "mmlu"} for each in ROWS])
    own = write(tmp_path / "own.jsonl", [{**each, "dataset": "support"} for each in ROWS])
    assert told(cli, "--data", seen)["trained_on"] == ["mmlu"]
    assert "learned from outcomes of mmlu, perhaps these very rows" in cli("simulate", "--data", seen).stdout
    assert told(cli, "--data", own)["trained_on"] == []


def test_many_rows_move_a_bar_and_the_result_stays_clean(cli: Cli, tmp_path: Path) -> None:
    rows = [row(f"What is {number}+{number}?", number % 2, 1) for number in range(600)]
    found = told(cli, "--data", write(tmp_path / "many.jsonl", rows))
    assert found["rows"] == 600


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"query": "q", "models": {"a": {"score": 2}}}', "rows.jsonl, line 1: models.a.score is 2"),
        (b'{"query": "q", "models": {"a": {"score": 1}}}\nnonsense', "rows.jsonl, line 2: this is not one JSON object"),
        (b"", "rows.jsonl holds no row"),
        (b"\x1f\x8bnot really gzip", "rows.jsonl cannot be read"),
        (gzip.compress(b'{"query": "q"}' * 100)[:-9], "rows.jsonl cannot be read"),
        (b'{"query": "q", "models": {"a": {"score": 1}}}', "one model leaves nothing to choose; the rows hold a"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_place(cli: Cli, tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    shown = cli("simulate", "--data", str(tmp_path / "rows.jsonl"))
    assert shown.exit_code == 1
    assert told in shown.stderr
    assert shown.stderr.startswith("Error (invalid_input) ")
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--map", "small"), "--map 'small' is not RECORDED=CARD"),
        (("--map", "a=gpt-4o", "--map", "a=gpt-4o"), "--map names 'a' twice"),
        (("--map", "tiny=gpt-4o"), "no row holds an answer of 'tiny'; the rows hold small, big"),
        (("--policy", "7f3a"), "--policy '7f3a' is no file, and no database is known to hold it"),
        (("--policy", "none.json"), "none.json cannot be read as a policy"),
        (("--html", "/no/such/folder/chart.html"), "/no/such/folder is no folder"),
    ],
)
def test_wrong_words_are_one_clear_line(cli: Cli, data: str, words: tuple[str, ...], told: str) -> None:
    shown = cli("simulate", "--data", data, *words)
    assert shown.exit_code == 1
    assert told in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "holds a list; a policy is a JSON object"),
        ("{", "cannot be read as a policy"),
        ('{"slakc": {}}', "has unknown fields: slakc"),
        ('{"scorer": "0123"}', "scores with artefact '0123', which only its database has"),
    ],
)
def test_a_bad_policy_is_one_clear_line(cli: Cli, data: str, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "p.json").write_text(content)
    shown = cli("simulate", "--data", data, "--policy", str(tmp_path / "p.json"))
    assert shown.exit_code == 1
    assert told in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_named(cli: Cli, tmp_path: Path) -> None:
    shown = cli("simulate", "--data", str(tmp_path / "none.jsonl"))
    assert shown.exit_code == 1
    assert "none.jsonl cannot be read" in shown.stderr


def test_the_log_needs_a_database_and_says_so(cli: Cli) -> None:
    shown = cli("simulate", "--data", "log")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error (not_running) No database is known, so there are no labels to replay")


def test_the_labels_of_a_database_are_replayed_through_a_version_of_it(cli: Cli, postgres_url: str) -> None:
    from orchestrator.adapters.postgres.database import Database  # noqa: PLC0415 - the one test with a database
    from orchestrator.adapters.postgres.labels import PostgresLabels  # noqa: PLC0415
    from orchestrator.adapters.postgres.stores import PostgresPolicies  # noqa: PLC0415
    from orchestrator.ports import Label  # noqa: PLC0415
    from tests.samples import new_id  # noqa: PLC0415

    policy = RoutingPolicy(slack=dict.fromkeys(RoutingPolicy().slack, 0.0))

    async def fill() -> None:
        database = Database(postgres_url, max_size=1)
        await database.open()
        for text, quality in (("Hi!", 0.25), (None, 1.0)):
            outcomes = {"llama-3.2-1b-instruct": quality, "claude-sonnet": 1.0}
            label = Label(id=new_id(), tenant="default", task_class="simple", outcomes=outcomes, text=text)
            await PostgresLabels(database).add(label)
        await PostgresPolicies(database).activate(policy, "a test")
        await PostgresPolicies(database).activate(RoutingPolicy(), "a test")
        await database.close()

    asyncio.run(fill())
    there = ("--data", "log", "--database-url", postgres_url)
    found = told(cli, *there, "--policy", "current", "--policy", policy.version)
    assert [one["version"] for one in found["policies"]] == [RoutingPolicy().version, policy.version]
    assert [one["quality"][0] for one in found["policies"]] == [0.25, 1.0]
    assert any("1 labels hold no text any more" in note for note in found["notes"])
    shown = cli("simulate", *there, "--policy", "0123456789ab")
    assert "no routing policy '0123456789ab' is kept in this database" in shown.stderr
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("delete from quality_labels")
    shown = cli("simulate", *there)
    assert "the database keeps no label with a text in simple, medium, high" in shown.stderr
