"""The word list: what it finds and what its numbers mean; and the classifier's code on a tiny RoBERTa."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from registry.load import load
from registry.schema import Task
from tests.tiny.encoders import TEXTS, sst2
from tests.tiny.encoders import toxicity as toxicity_model
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


NAME = "roberta-toxicity"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / NAME).mkdir()
    toxicity_model(folder / NAME)
    return folder


@pytest.fixture(scope="module")
def classifier(models_dir: Path) -> Any:
    return toxicity.load(load().get(NAME), Machine(models_dir=models_dir))


@cache
def torch_model(folder: Path) -> Any:
    torch.set_num_threads(1)  # two collapse on a busy machine
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def by_transformers(folder: Path, ids: list[int]) -> float:
    """The share of `toxic` in one window."""
    model = torch_model(folder)
    with torch.no_grad():
        return float(model(input_ids=torch.tensor([ids])).logits[0].double().softmax(0)[1])


def test_a_classifiers_score_is_the_share_of_toxic_by_transformers(classifier: Any, models_dir: Path) -> None:
    found = read(classifier, *TEXTS)["results"]
    for text, each in zip(TEXTS, found, strict=True):
        expected = by_transformers(models_dir / NAME, classifier.reader.read([text])[0].ids.tolist())
        assert each["score"] == pytest.approx(expected, abs=1e-5)
        assert each["categories"] == {"toxic": pytest.approx(expected, abs=1e-5)}
        assert each["toxic"] is (expected >= 0.5)
    assert len({round(each["score"], 4) for each in found}) == len(TEXTS)


def test_a_long_text_is_as_toxic_as_its_worst_window(classifier: Any, models_dir: Path) -> None:
    text = "".join(each * 15 for each in TEXTS[:4])
    windows = [each.ids.tolist() for each in classifier.reader.read_whole([text])[0]]
    shares = [by_transformers(models_dir / NAME, ids) for ids in windows]
    result = read(classifier, text)
    assert len(windows) > 2
    assert max(shares) - min(shares) > 0.001
    assert result["results"][0]["score"] == pytest.approx(max(shares), abs=1e-5)
    assert result["tokens"] == sum(len(ids) for ids in windows)


def test_one_callers_mistake_is_that_callers_error(classifier: Any) -> None:
    items = (Item(texts=("fine",)), Item(texts=("\ud800",)), Item())
    good, surrogate, nothing = toxicity.infer(classifier, Batch(task=Task.TOXICITY, items=items))
    assert str(surrogate) == "texts[0] holds half of a character (a lone surrogate) at 0; send UTF-8"
    assert str(nothing) == "toxicity needs at least one text; `texts` is empty"
    assert not isinstance(good, WorkerError)


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    sst2(tmp_path / NAME)
    with pytest.raises(WorkerError) as told:
        toxicity.load(load().get(NAME), Machine(models_dir=tmp_path))
    assert told.value.code is Code.INVALID_CONFIG
    assert f"{NAME} has the labels NEGATIVE, POSITIVE; exactly one must be neutral or" in told.value.message
