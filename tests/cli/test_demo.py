"""The demo: its data are honest, its sums exact, and it leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.adapters.wire.answers import Replay
from orchestrator.cli.demo import ask_all
from orchestrator.cli.demo_contract import LOCAL, recorded_labels
from orchestrator.cli.demo_prompts import OPEN_MODEL, Prompt, Recorded, read_prompts, write_replay
from orchestrator.cli.demo_result import row_of, sum_up
from orchestrator.house import House
from pennyroute import Answer
from registry.load import load
from tests.cli.conftest import Cli

SMALL = Recorded(model="small", kind="raw output", text="It is 4.", output_tokens=5, correct=False)
LARGE = Recorded(model="large", kind="recorded prediction", text="4", output_tokens=100, correct=True)
ASKED = Prompt(text="2+2?", origin="a test", input_tokens=1000, answers={"local": SMALL, "premium": LARGE})
ANSWER = Answer(
    id="a",
    task="generate",
    output="It is 4.",
    model="replay-local/x",
    tier="local",
    cost_usd=Decimal(0),
    cost_nanousd=0,
    latency_ms=1.0,
    why={"complexity": "simple", "attempts": []},
)
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_every_recorded_answer_says_what_was_kept_of_it() -> None:
    prompts = read_prompts()
    recorded = [prompt for prompt in prompts if prompt.answers]
    assert (len(prompts), len(recorded)) == (46, 40)
    kinds = {answer.kind for prompt in recorded for answer in prompt.answers.values()}
    assert kinds == {"raw output", "recorded prediction", "recorded grade"}
    for prompt in recorded:
        for tier, answer in prompt.answers.items():
            assert (answer.kind == "raw output") == (tier == "local")
            assert tier == "local" or answer.text.startswith("[")


def test_the_package_holds_little_and_names_its_licences() -> None:
    folder = Path(__file__).parents[2] / "orchestrator" / "adapters" / "wire" / "replay"
    assert (folder / "prompts.jsonl").stat().st_size < 100_000
    notice = (folder / "NOTICE").read_text()
    assert all(project in notice for project in ("lm-sys/RouteLLM", "WildEval/ZeroEval", "TIGER-AI-Lab/MMLU-Pro"))


def test_each_tiers_recording_is_replayed_under_every_model_of_that_tier(tmp_path: Path) -> None:
    write_replay(tmp_path / "replay.jsonl", (ASKED,), load())
    replay = Replay.load(tmp_path / "replay.jsonl")
    local, premium, creative = (replay.find("2+2?", model) for model in (OPEN_MODEL, "claude-opus-5", "gpt-4o"))
    assert local is not None
    assert (local.text, local.usage) == ("It is 4.", {"input_tokens": 1000, "output_tokens": 5})
    assert premium is not None
    assert (premium.text, premium.usage["output_tokens"]) == ("4", 100)
    assert creative == premium
    assert replay.find("2+2?", "deepseek-flash") is None


def test_costs_and_grades_are_compared_on_recorded_rows_alone() -> None:
    premium = load().get("gpt-4o")  # $2.50 and $10 per million tokens
    ours = Prompt(text="Hi!", origin="a test", input_tokens=None, answers={})
    paid = replace(ANSWER, tier="premium", cost_nanousd=3_500_000)
    rows = [row_of(ASKED, ANSWER, premium, AT), row_of(ASKED, paid, premium, AT), row_of(ours, paid, premium, AT)]
    assert [row.premium_nanousd for row in rows] == [3_500_000, 3_500_000, None]
    assert [row.correct for row in rows] == [False, True, None]
    summary = sum_up(rows)
    assert (summary.prompts, summary.local, summary.compared) == (3, 1, 2)
    assert (summary.total_nanousd, summary.routed_nanousd, summary.premium_nanousd) == (7_000_000, 3_500_000, 7_000_000)
    assert (summary.routed_correct, summary.premium_correct) == (1, 2)
    assert summary.saving == 0.5


def test_its_labels_were_scored_by_the_artefact_that_scores_its_prompts() -> None:
    labels = list(recorded_labels("claude-sonnet"))
    assert len(labels) > 1_400
    assert {label.scorer for label in labels} == {shipped_predictor().version}  # else: scripts/make-demo-replay
    assert {model for label in labels for model in label.outcomes} == {LOCAL, "deepseek-chat", "claude-sonnet"}
    assert all(label.text is None for label in labels)


@pytest.mark.slow
def test_the_demos_prompts_run_through_the_house_and_cost_what_the_ledger_says(house: House, house_cli: Cli) -> None:
    before = json.loads(house_cli("stats", "--json").stdout)["cost_nanousd"]
    rows = ask_all(house, read_prompts(), Console(file=io.StringIO()))
    after = json.loads(house_cli("stats", "--json").stdout)["cost_nanousd"]
    summary = sum_up(rows)
    assert summary.total_nanousd == after - before > 0
    assert {row.answer.tier for row in rows} == {"local", "mid", "premium"}
    assert all(row.answer.output == row.recorded.text for row in rows if row.recorded)
    assert 0 < summary.routed_nanousd < summary.premium_nanousd


@pytest.mark.slow
def test_the_demo_says_that_it_is_a_replay_and_leaves_nothing_behind(tmp_path: Path) -> None:
    console = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", "demo", "--keep-running"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert console.stdout is not None
    said = []
    for line in console.stdout:
        said.append(line)
        if "Ctrl-C stops everything" in line:
            console.send_signal(signal.SIGINT)
    assert console.wait(60) == 0
    console.stdout.close()
    words = "".join(said)
    assert words.startswith("REPLAY No model is asked.")
    assert "saved" in words
    assert "CONTRACT for the class 'exam'" in words
    assert "always claude-sonnet" in words
    assert "under the contract" in words
    assert "34 questions stood under the contract" in words
    assert list(tmp_path.iterdir()) == []
