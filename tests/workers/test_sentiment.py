"""VADER on its real lexicon."""

from __future__ import annotations

from typing import Any

import pytest

from registry.load import load
from registry.schema import Task
from workers import sentiment
from workers.modality import Batch, Code, Item, Machine, WorkerError


@pytest.fixture(scope="module")
def analyser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return sentiment.load(load().get("vader"), Machine(models_dir=tmp_path_factory.mktemp("models")))


def read(analyser: Any, *texts: str) -> Any:
    (result,) = sentiment.infer(analyser, Batch(task=Task.SENTIMENT, items=(Item(texts=texts),)))
    return result


@pytest.mark.parametrize(
    ("text", "label", "score"),
    [
        ("VADER is smart, handsome, and funny.", "positive", 0.8316),  # from VADER's own README
        ("VADER is smart, handsome, and funny!", "positive", 0.8439),
        ("VADER is not smart, handsome, nor funny.", "negative", -0.7424),
        ("The book was good.", "positive", 0.4404),
        ("Today SUX!", "negative", -0.5461),
        ("The meeting is at three.", "neutral", 0.0),
        ("", "neutral", 0.0),
    ],
)
def test_a_text_gets_its_label_and_compound_score(analyser: Any, text: str, label: str, score: float) -> None:
    (found,) = read(analyser, text)["results"]
    assert (found["label"], found["score"]) == (label, score)


def test_the_shares_add_up_to_one(analyser: Any) -> None:
    (found,) = read(analyser, "VADER is smart, handsome, and funny.")["results"]
    assert found["scores"] == {"positive": 0.746, "neutral": 0.254, "negative": 0.0}


def test_every_text_of_a_call_is_answered_in_order(analyser: Any) -> None:
    found = read(analyser, "I love it", "I hate it")["results"]
    assert [each["label"] for each in found] == ["positive", "negative"]


def test_a_text_too_long_for_the_rules_is_refused_with_its_place(analyser: Any) -> None:
    error = read(analyser, "fine", "a " * 10_001)
    assert isinstance(error, WorkerError)
    assert (error.code, error.message) == (
        Code.INVALID_INPUT,
        "texts[1] has 20002 characters, sentiment reads at most 20000; split it",
    )


def test_no_text_is_refused(analyser: Any) -> None:
    assert str(read(analyser)) == "sentiment needs at least one text; `texts` is empty"
