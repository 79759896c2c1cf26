"""The word list: what it finds, what it leaves alone, and what its numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.load import load
from registry.schema import Task
from workers import toxicity
from workers.modality import Batch, Code, Item, Machine, WorkerError
from workers.wordlist import WordList


@pytest.fixture(scope="module")
def words() -> WordList:
    loaded = toxicity.load(load().get("toxicity-wordlist"), Machine(models_dir=Path("/nowhere")))
    assert isinstance(loaded, WordList)
    return loaded


def read(words: WordList, *texts: str) -> Any:
    (result,) = toxicity.infer(words, Batch(task=Task.TOXICITY, items=(Item(texts=texts),)))
    return result


@pytest.mark.parametrize(
    ("text", "score", "categories"),
    [
        ("You are an idiot.", 0.6, {"insult": 0.6, "obscenity": 0.0, "threat": 0.0}),
        ("You idiot, you MORON!", 0.84, {"insult": 0.84, "obscenity": 0.0, "threat": 0.0}),
        ("1d10t", 0.6, {"insult": 0.6, "obscenity": 0.0, "threat": 0.0}),
        ("@sshole", 0.6, {"insult": 0.6, "obscenity": 0.0, "threat": 0.0}),
        ("@moron shut up!", 0.84, {"insult": 0.84, "obscenity": 0.0, "threat": 0.0}),
        ("ídíót", 0.6, {"insult": 0.6, "obscenity": 0.0, "threat": 0.0}),
        ("I will\n kill   you, fucking loser", 0.98, {"insult": 0.6, "obscenity": 0.5, "threat": 0.9}),
    ],
)
def test_findings_count_per_category(words: WordList, text: str, score: float, categories: dict[str, float]) -> None:
    assert read(words, text)["results"] == [{"toxic": True, "score": score, "categories": categories}]


@pytest.mark.parametrize(
    "text",
    [
        "Have a nice day!",
        "Scunthorpe classes assess the bass player in 2011",
        "It costs $5 or 100% of 3 coins, @anna",
        "Dr. Dickinson passed the assembly exam",
        "",
    ],
)
def test_harmless_texts_are_left_alone(words: WordList, text: str) -> None:
    nothing = {"insult": 0.0, "obscenity": 0.0, "threat": 0.0}
    assert read(words, text)["results"] == [{"toxic": False, "score": 0.0, "categories": nothing}]


def test_a_quotation_is_flagged_as_the_documentation_says(words: WordList) -> None:
    (found,) = read(words, 'He asked why she had called him an "idiot".')["results"]
    assert found["toxic"] is True


def test_no_text_and_too_long_a_text_are_refused(words: WordList) -> None:
    assert str(read(words)) == "toxicity needs at least one text; `texts` is empty"
    error = read(words, "a" * 200_001)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message == "texts[0] has 200001 characters, toxicity reads at most 200000; split it"
