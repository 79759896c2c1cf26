"""VADER on its real lexicon, and the classifier's code on a tiny DistilBERT."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from registry.load import load
from registry.schema import Task
from tests.tiny.encoders import TEXTS, sst2
from tests.tiny.encoders import toxicity as toxicity_model
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


NAME = "distilbert-sst2"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / NAME).mkdir()
    sst2(folder / NAME)
    return folder


@pytest.fixture(scope="module")
def classifier(models_dir: Path) -> Any:
    return sentiment.load(load().get(NAME), Machine(models_dir=models_dir))


@cache
def torch_model(folder: Path) -> Any:
    torch.set_num_threads(1)  # two collapse on a busy machine
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def by_transformers(folder: Path, ids: list[int]) -> Any:
    """(negative, positive) of one window."""
    model = torch_model(folder)
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double().softmax(0).numpy()


def test_a_classifiers_shares_are_those_of_transformers(classifier: Any, models_dir: Path) -> None:
    result = read(classifier, *TEXTS)
    for text, found in zip(TEXTS, result["results"], strict=True):
        negative, positive = by_transformers(models_dir / NAME, classifier.reader.read([text])[0].ids.tolist())
        assert found["scores"] == pytest.approx({"negative": negative, "positive": positive}, abs=1e-5)
        assert found["score"] == pytest.approx(positive - negative, abs=1e-5)
        assert found["label"] == ("positive" if positive > negative else "negative")
    assert len({round(found["score"], 4) for found in result["results"]}) == len(TEXTS)


def test_a_long_text_is_read_to_its_end_window_by_window(classifier: Any, models_dir: Path) -> None:
    text = (TEXTS[3] + " ") * 60 + (TEXTS[1] + " ") * 40
    windows = [each.ids.tolist() for each in classifier.reader.read_whole([text])[0]]
    result = read(classifier, text)
    shares = np.stack([by_transformers(models_dir / NAME, ids) for ids in windows])
    negative, positive = np.average(shares, axis=0, weights=[len(ids) for ids in windows])
    assert len(windows) > 2
    assert result["tokens"] == sum(len(ids) for ids in windows)
    assert result["results"][0]["score"] == pytest.approx(positive - negative, abs=1e-5)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ((), "sentiment needs at least one text; `texts` is empty"),
        (("ok", "a" * 10_000_000), "texts[1] has 10000000 characters, sentiment reads at most 200000; split it"),
        (("\udc00",), "texts[0] holds half of a character (a lone surrogate) at 0; send UTF-8"),
    ],
)
def test_one_callers_mistake_is_that_callers_error(classifier: Any, texts: tuple[str, ...], said: str) -> None:
    items = (Item(texts=TEXTS[:2]), Item(texts=texts), Item(texts=TEXTS[2:]))
    first, bad, last = sentiment.infer(classifier, Batch(task=Task.SENTIMENT, items=items))
    assert isinstance(bad, WorkerError)
    assert (bad.code, bad.message) == (Code.INVALID_INPUT, said)
    assert not isinstance(first, WorkerError)
    assert not isinstance(last, WorkerError)
    assert (len(first["results"]), len(last["results"])) == (2, len(TEXTS) - 2)


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    toxicity_model(tmp_path / NAME)
    with pytest.raises(WorkerError) as told:
        sentiment.load(load().get(NAME), Machine(models_dir=tmp_path))
    assert told.value.code is Code.INVALID_CONFIG
    assert told.value.message == f"{NAME} has the labels neutral, toxic; sentiment needs positive, negative"
