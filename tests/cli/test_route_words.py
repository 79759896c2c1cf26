"""`pennyroute route` without an API: what it prints of each task's answer, and what it asks for that was not given."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from orchestrator.cli.route import output_words
from pennyroute import Answer
from tests.cli.conftest import Cli


def answer(task: str, output: Any) -> Answer:
    return Answer(
        **{"id": "1", "task": task, "output": output, "model": "m", "tier": "local", "cost_usd": Decimal(0)},
        **{"cost_nanousd": 0, "latency_ms": 1.0, "why": {}},
    )


@pytest.mark.parametrize(
    ("task", "output", "words"),
    [
        ("generate", "Hello.", "Hello."),
        ("embed", [[0.5, 0.25]], "[0.5000, 0.2500, …] 2 dimensions"),
        ("ocr", [{"text": "one\ftwo"}, {"text": "three"}], "one\n\ntwo\n\nthree"),
        ("transcribe", [{"text": "Good morning.", "segments": [{"start": 0.0}]}], "Good morning."),
        ("vision", [{"embedding": [0.5, 0.25]}], '{"embedding": "[0.5000, 0.2500, …] 2 dimensions"}'),
        ("vision", [{"label": "cat", "score": 0.9}], '{"label": "cat", "score": 0.9}'),
    ],
)
def test_an_answer_is_printed_for_people(task: str, output: Any, words: str) -> None:
    assert output_words(answer(task, output)) == words


@pytest.mark.parametrize("task", ["ocr", "document", "vision", "transcribe"])
def test_a_task_that_reads_files_asks_for_one(cli: Cli, task: str) -> None:
    told = cli("route", "--task", task)
    assert (told.exit_code, told.stderr) == (1, f"Error (invalid_input) {task} reads files: name one with --file.\n")
