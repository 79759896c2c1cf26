"""A schema constrains what either engine writes, from random weights too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.workers.llm_models import GGUF, TORCH, answer, ask, error, loaded, user
from workers.generate.writer import Writer
from workers.modality import Code, WorkerError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "mood": {"enum": ["froh", "müde", "😀"]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "mood", "tags"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}},
}


@pytest.fixture(scope="module", params=(GGUF, TORCH, "gemma-2-2b-it"))
def writer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with loaded(tmp_path_factory.mktemp("models"), request.param) as found:
        yield found


def test_what_is_written_fits_the_schema_and_ends_by_itself(writer: Writer) -> None:
    items = [user("Who?", schema=PERSON, temperature=1.2, top_p=1, seed=seed, max_tokens=900) for seed in range(4)]
    for found in ask(writer, *items):
        assert not isinstance(found, WorkerError), found
        jsonschema.validate(json.loads(found["text"]), PERSON)
        assert found["finish_reason"] == "stop"


def test_items_with_and_without_a_schema_share_a_batch(writer: Writer) -> None:
    small = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    free, bound = ask(
        writer,
        user("x", max_tokens=30, temperature=0),
        user("x", max_tokens=300, temperature=0, schema={**small, "additionalProperties": False}),
    )
    assert not isinstance(free, WorkerError)
    assert not isinstance(bound, WorkerError)
    assert json.loads(bound["text"]) in ({"ok": True}, {"ok": False})


def test_the_pieces_of_constrained_text_are_said_too(writer: Writer) -> None:
    said: list[str] = []
    item = user("x", max_tokens=200, schema={"type": "string", "maxLength": 12}, stream=True)
    found = answer(writer, item, say=lambda _, text: said.append(text))
    assert "".join(said) == found["text"]
    assert len(json.loads(found["text"])) <= 12


def test_a_schema_that_cannot_be_followed_is_refused_before_a_word_is_written(writer: Writer) -> None:
    said: list[str] = []
    schema = {"type": "object", "if": {"required": ["a"]}, "then": {"required": ["b"]}}
    found = error(writer, user("x", schema=schema, stream=True), say=lambda _, text: said.append(text))
    assert found.code is Code.INVALID_INPUT
    assert "if" in found.message
    assert said == []


def test_a_schema_that_does_not_fit_into_max_tokens_is_refused_with_what_it_needs(writer: Writer) -> None:
    found = error(writer, user("x", schema=PERSON, max_tokens=10))
    assert found.code is Code.INVALID_INPUT
    assert "10" in found.message


def test_a_tokenizer_that_cannot_write_json_is_told_and_spoils_no_other_item(tmp_path: Path) -> None:
    """T5 has no braces, and pieces whose bytes the constraint cannot tell."""
    with loaded(tmp_path, "lamini-flan-t5-783m") as writer:
        bound, free = ask(writer, user("x", schema=PERSON, max_tokens=900), user("x", max_tokens=5, temperature=0))
    assert isinstance(bound, WorkerError)
    assert bound.code is Code.INVALID_CONFIG
    assert "structured output" in bound.message
    assert not isinstance(free, WorkerError)
    assert free["output_tokens"] == 5
