"""Zero-shot by entailment on a tiny mDeBERTa, and by similarity on real MiniLM: probabilities, order, errors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer

from registry.load import load
from registry.schema import Task
from tests.tiny.encoders import TEXTS, mdeberta, sst2
from workers import classify, embeddings
from workers.modality import Batch, Code, Item, Machine, WorkerError

NAME = "mdeberta-mnli-xnli"
LABELS = ["sports", "politics", "science", "music"]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / NAME).mkdir()
    mdeberta(folder / NAME)
    return folder


@pytest.fixture(scope="module")
def model(models_dir: Path) -> classify.Inference:
    return classify.load(load().get(NAME), Machine(models_dir=models_dir))


@pytest.fixture(scope="module")
def minilm(models_dir: Path) -> embeddings.Encoder:
    return embeddings.load(load().get("minilm-l6-builtin"), Machine(models_dir=models_dir))


def item(*texts: str, labels: Any = LABELS, **options: Any) -> Item:
    return Item(texts=texts, options={"labels": labels, **options})


def by_entailment(model: classify.Inference, *items: Item) -> Any:
    return classify.infer(model, Batch(task=Task.CLASSIFY, items=items))


def by_similarity(minilm: embeddings.Encoder, *items: Item) -> Any:
    return embeddings.infer(minilm, Batch(task=Task.CLASSIFY, items=items))


@cache
def torch_model(folder: Path) -> Any:
    torch.set_num_threads(1)  # two collapse on a busy machine
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def logits(folder: Path, text: str) -> Any:
    """(labels, 3) by transformers, pair by pair."""
    model = torch_model(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = []
    for label in LABELS:
        pair = tokenizer.encode(text, f"This text is about {label}.")
        with torch.no_grad():
            rows.append(model(input_ids=torch.tensor([pair.ids])).logits[0].double().numpy())
    return np.stack(rows)


def test_one_of_the_labels_is_right_softmax_over_their_entailment(model: classify.Inference, models_dir: Path) -> None:
    (result,) = by_entailment(model, item(*TEXTS[:2]))
    for text, found in zip(TEXTS[:2], result["results"], strict=True):
        entailment = np.exp(logits(models_dir / NAME, text)[:, 0])
        expected = dict(zip(LABELS, entailment / entailment.sum(), strict=True))
        assert found["scores"] == pytest.approx(expected, abs=1e-5)
        assert sum(found["scores"].values()) == pytest.approx(1.0)
        assert list(found["scores"]) == sorted(expected, key=lambda label: -expected[label])
        assert (found["label"], found["score"]) == next(iter(found["scores"].items()))
    assert result["calibrated"] is False


def test_with_multi_label_each_is_judged_by_entailment_against_contradiction(
    model: classify.Inference, models_dir: Path
) -> None:
    (result,) = by_entailment(model, item(TEXTS[4], multi_label=True))
    both = np.exp(logits(models_dir / NAME, TEXTS[4])[:, [0, 2]])
    expected = dict(zip(LABELS, both[:, 0] / both.sum(axis=1), strict=True))
    assert result["results"][0]["scores"] == pytest.approx(expected, abs=1e-5)


def test_one_label_alone_may_not_fit(model: classify.Inference, minilm: embeddings.Encoder) -> None:
    (entailed,) = by_entailment(model, item(TEXTS[0], labels=["music"]))
    (near,) = by_similarity(minilm, item(TEXTS[0], labels=["music"]))
    for result in (entailed, near):
        assert 0.0 < result["results"][0]["score"] < 0.999


def test_calls_with_other_labels_share_a_batch_and_keep_their_own(model: classify.Inference) -> None:
    items = (item(TEXTS[0], labels=["a", "b"]), item(), item(*TEXTS[1:3], labels=["c", "d", "e"]))
    one, bad, two = by_entailment(model, *items)
    assert isinstance(bad, WorkerError)
    (alone,) = by_entailment(model, items[2])
    assert set(one["results"][0]["scores"]) == {"a", "b"}
    for together, single in zip(two["results"], alone["results"], strict=True):
        assert together["scores"] == pytest.approx(single["scores"], abs=1e-5)


def test_a_long_text_loses_its_end_and_the_label_stays(model: classify.Inference) -> None:
    long = TEXTS[0] * 60
    (result,) = by_entailment(model, item(long, long + TEXTS[1], TEXTS[0]))
    first, second, short = result["results"]
    assert result["truncated"] == 2
    assert first["scores"] == pytest.approx(second["scores"], abs=1e-5)
    assert first["scores"] != pytest.approx(short["scores"], abs=1e-4)


MISTAKES = [
    (item(), "classify needs at least one text; `texts` is empty"),
    (Item(texts=("a",)), "classify needs options.labels, a list of the classes to choose from"),
    (item("a", labels=[]), "classify needs options.labels, a list of the classes to choose from"),
    (item("a", labels="ab"), "classify needs options.labels, a list of the classes to choose from"),
    (item("a", labels=["a", 3]), "options.labels[1] is of type int; classify reads texts"),
    (
        item("a", labels=["a", "a"]),
        "options.labels has an empty name or one twice; every class needs a name of its own",
    ),
    (
        item("a", labels=["a", " "]),
        "options.labels has an empty name or one twice; every class needs a name of its own",
    ),
    (item("a", multi_label=1), "options.multi_label must be true or false, got 1"),
    (item("x\ud83d"), "texts[0] holds half of a character (a lone surrogate) at 1; send UTF-8"),
    (item("a" * 200_001), "texts[0] has 200001 characters, classify reads at most 200000; split it"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES)
def test_a_mistake_is_told_alike_both_ways(
    model: classify.Inference, minilm: embeddings.Encoder, mistake: Item, said: str
) -> None:
    for good, bad in (by_entailment(model, item("a"), mistake), by_similarity(minilm, item("a"), mistake)):
        assert isinstance(bad, WorkerError)
        assert (bad.code, bad.message) == (Code.INVALID_INPUT, said)
        assert set(good["results"][0]["scores"]) == set(LABELS)


def test_a_label_as_long_as_a_text_is_refused(model: classify.Inference) -> None:
    (error,) = by_entailment(model, item("a", labels=["music " * 300]))
    assert isinstance(error, WorkerError)
    assert "options.labels[0] has " in error.message
    assert f"{NAME} takes 480; shorten it" in error.message


def test_more_pairs_than_minutes_of_work_are_refused(model: classify.Inference) -> None:
    (error,) = by_entailment(model, item(*["a"] * 101, labels=[str(number) for number in range(100)]))
    assert str(error) == "101 texts with 100 labels are 10100 pairs, at most 10000; send less"


def test_a_model_without_entailment_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    sst2(tmp_path / NAME)
    with pytest.raises(WorkerError) as told:
        classify.load(load().get(NAME), Machine(models_dir=tmp_path))
    assert told.value.message == (
        f"{NAME} has the labels NEGATIVE, POSITIVE; classify needs entailment and contradiction"
    )


def test_real_minilm_finds_the_topic_and_its_confidence_is_measured(minilm: embeddings.Encoder) -> None:
    texts = ("She wrote the chorus first and the verses on the tour bus.", "The mayor promised cheaper buses.")
    (result,) = by_similarity(minilm, item(*texts))
    assert [found["label"] for found in result["results"]] == ["music", "politics"]
    assert all(found["score"] > 0.6 for found in result["results"])
    assert all(sum(found["scores"].values()) == pytest.approx(1.0) for found in result["results"])
    assert result["calibrated"] is True


def test_with_multi_label_real_minilm_finds_both_topics(minilm: embeddings.Encoder) -> None:
    (result,) = by_similarity(minilm, item("The senator sang in a rock band before his election.", multi_label=True))
    scores = result["results"][0]["scores"]
    assert min(scores["music"], scores["politics"]) > 2 * max(scores["sports"], scores["science"])


def test_labels_are_embedded_once(minilm: embeddings.Encoder) -> None:
    minilm.labels.clear()
    by_similarity(minilm, item("a", labels=["rivers", "trade"]), item("b", labels=["trade", "war"]))
    assert sorted(minilm.labels) == ["rivers", "trade", "war"]
    kept = minilm.labels["trade"]
    by_similarity(minilm, item("c", labels=["trade"]))
    assert minilm.labels["trade"] is kept


def test_the_memory_of_labels_is_bounded_and_a_larger_call_still_answers(minilm: embeddings.Encoder) -> None:
    minilm.labels.clear()
    minilm.labels.update({f"old {number}": np.zeros(384, dtype=np.float32) for number in range(999)})
    (result,) = by_similarity(minilm, item("It rains.", labels=["weather", "money"]))
    assert sorted(minilm.labels) == ["money", "weather"]
    assert result["results"][0]["label"] == "weather"


def test_an_encoder_without_measured_confidence_says_so(models_dir: Path) -> None:
    from tests.tiny.encoders import bge_small  # noqa: PLC0415 - made for this test alone

    folder = models_dir / "bge-small-en-v1.5"
    folder.mkdir()
    bge_small(folder)
    encoder = embeddings.load(load().get("bge-small-en-v1.5"), Machine(models_dir=models_dir))
    (result,) = by_similarity(encoder, item(TEXTS[0]))
    assert result["calibrated"] is False
    assert json.loads((folder / "1_Pooling" / "config.json").read_text())["pooling_mode_cls_token"] is True
