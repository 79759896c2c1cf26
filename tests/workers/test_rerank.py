"""The cross-encoder's code on a tiny model of its true architecture: order, scores, cuts, errors per item."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from registry.load import load
from registry.schema import Task
from tests.tiny.encoders import TEXTS, ms_marco, sst2
from workers import rerank
from workers.encoder.model import Model
from workers.modality import Batch, Code, Item, Machine, WorkerError

NAME = "ms-marco-minilm-l12-v2"
QUERY = "What is the capital of Germany?"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / NAME).mkdir()
    ms_marco(folder / NAME)
    return folder


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Model:
    return rerank.load(load().get(NAME), Machine(models_dir=models_dir))


def ranked(model: Model, *items: Item) -> Any:
    return rerank.infer(model, Batch(task=Task.RERANK, items=items))


@cache
def torch_model(folder: Path) -> Any:
    torch.set_num_threads(1)  # two collapse on a busy machine
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()


def by_transformers(folder: Path, query: str, documents: tuple[str, ...]) -> list[float]:
    """sigmoid of the logit, pair by pair without a batch."""
    model = torch_model(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    scores = []
    for document in documents:
        pair = tokenizer.encode(query, document)
        with torch.no_grad():
            logit = model(input_ids=torch.tensor([pair.ids]), token_type_ids=torch.tensor([pair.type_ids])).logits
        scores.append(1 / (1 + math.exp(-float(logit))))
    return scores


def test_each_document_gets_the_score_that_transformers_gives_its_pair(model: Model, models_dir: Path) -> None:
    (result,) = ranked(model, Item(texts=TEXTS, query=QUERY))
    found = {each["index"]: each["score"] for each in result["results"]}
    expected = by_transformers(models_dir / NAME, QUERY, TEXTS)
    assert [found[number] for number in range(len(TEXTS))] == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in expected}) == len(TEXTS)


def test_the_best_documents_come_first_and_no_more_than_were_asked_for(model: Model) -> None:
    every, best = ranked(model, Item(texts=TEXTS, query=QUERY), Item(texts=TEXTS, query=QUERY, options={"top_n": 2}))
    scores = [each["score"] for each in every["results"]]
    assert scores == sorted(scores, reverse=True)
    assert [each["index"] for each in best["results"]] == [each["index"] for each in every["results"][:2]]
    assert best["tokens"] == every["tokens"]


def test_query_and_document_are_told_apart(model: Model) -> None:
    one, other = ranked(model, Item(texts=(TEXTS[0],), query=TEXTS[1]), Item(texts=(TEXTS[1],), query=TEXTS[0]))
    assert abs(one["results"][0]["score"] - other["results"][0]["score"]) > 1e-3


def test_a_long_document_loses_its_end_and_says_so_and_the_query_stays(model: Model) -> None:
    long = "the kitten sleeps " * 400
    (result,) = ranked(model, Item(texts=(long, "the old town", long + "and more"), query=QUERY))
    scores = {each["index"]: each["score"] for each in result["results"]}
    assert result["truncated"] == 2
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)
    assert result["tokens"] < 2 * 512 + 60


def test_a_query_that_leaves_no_room_for_a_document_is_refused(model: Model) -> None:
    good, error = ranked(model, Item(texts=("a",), query="the " * 480), Item(texts=("a",), query="the " * 481))
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message == f"the query has 481 tokens, {NAME} takes 480 beside a document; shorten it"
    assert good["tokens"] == 480 + 1 + 3


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (Item(query="a"), "rerank needs at least one text; `texts` is empty"),
        (Item(texts=("a",)), "rerank needs a `query` to compare the texts with; none was given"),
        (Item(texts=("a",), query="a", options={"top_n": 0}), "options.top_n must be a whole number from 1, got 0"),
        (
            Item(texts=("a",), query="a", options={"top_n": True}),
            "options.top_n must be a whole number from 1, got True",
        ),
        (
            Item(texts=("a", "b" * 10_000_000), query="a"),
            "texts[1] has 10000000 characters, rerank reads at most 200000; split it",
        ),
        (
            Item(texts=("ok \ud800",), query="a"),
            "texts[0] holds half of a character (a lone surrogate) at 3; send UTF-8",
        ),
        (Item(texts=("a",), query="\udfff"), "query holds half of a character (a lone surrogate) at 0; send UTF-8"),
    ],
)
def test_one_callers_mistake_is_that_callers_error(model: Model, item: Item, said: str) -> None:
    good, bad = ranked(model, Item(texts=TEXTS, query=QUERY), item)
    assert isinstance(bad, WorkerError)
    assert (bad.code, bad.message) == (Code.INVALID_INPUT, said)
    assert len(good["results"]) == len(TEXTS)


def test_a_passed_deadline_stops_the_inference(model: Model) -> None:
    with pytest.raises(WorkerError, match="the deadline passed during inference"):
        rerank.infer(model, Batch(task=Task.RERANK, items=(Item(texts=("a",), query="b"),), deadline=0.0))


def test_a_model_with_several_logits_is_no_cross_encoder(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    sst2(tmp_path / NAME)
    with pytest.raises(WorkerError) as told:
        rerank.load(load().get(NAME), Machine(models_dir=tmp_path))
    assert told.value.code is Code.INVALID_CONFIG
    assert told.value.message == f"{NAME} gives 2 logits per pair; a cross-encoder gives one"
