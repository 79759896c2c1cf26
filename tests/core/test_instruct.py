"""Classification by instruction: what is asked of a model that only generates, and how its answer is read."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from orchestrator.core import instruct
from orchestrator.core.types import Call, Options, Reply, Request
from registry.load import load
from registry.schema import Task, Usage

LABELS = ("billing", "bug")
ID = UUID(int=1)


def call(*texts: str, **options: Any) -> Call:
    asked = Options(labels=LABELS, **options)
    return Call(attempt_id=ID, model_id="m", api_model="m", task=Task.CLASSIFY, texts=texts, options=asked)


def request(*texts: str, **options: Any) -> Request:
    return Request(id=ID, task=Task.CLASSIFY, texts=texts, options=Options(labels=LABELS, **options))


def reply(value: Any) -> Reply:
    return Reply(usage=Usage(), text=value if isinstance(value, str) else json.dumps(value))


def test_a_classifier_is_not_instructed_and_an_embedding_model_cannot_be() -> None:
    registry = load()
    assert not instruct.needed(registry.get("mdeberta-mnli-xnli"), Task.CLASSIFY)
    assert instruct.can(registry.get("claude-sonnet"), Task.CLASSIFY)
    assert not instruct.can(registry.get("faster-whisper-base"), Task.CLASSIFY)
    assert not instruct.can(registry.get("claude-sonnet"), Task.EMBED)


def test_the_chat_names_the_labels_and_numbers_the_texts() -> None:
    asked = instruct.instructed(call("It crashes", "Refund me"))
    assert asked.task is Task.GENERATE
    assert '["billing", "bug"]' in asked.messages[0].content
    assert asked.messages[1].content == "Text 1:\nIt crashes\n\nText 2:\nRefund me"
    assert (asked.texts, asked.options.temperature) == ((), 0.0)


def test_the_schema_fixes_labels_and_count() -> None:
    schema = instruct.instructed(call("It crashes", "Refund me")).options.schema
    assert schema is not None
    results = schema["properties"]["results"]
    assert (results["minItems"], results["maxItems"]) == (2, 2)
    assert results["items"]["properties"]["label"] == {"enum": ["billing", "bug"]}


def test_an_answer_is_read_as_a_classifiers() -> None:
    said = reply({"results": [{"label": "bug", "confidence": 0.9}]})
    read = instruct.classified(said, request("It crashes"))
    assert read is not None
    assert read.text is None
    assert read.data == [{"label": "bug", "score": 0.9, "scores": {"billing": pytest.approx(0.1), "bug": 0.9}}]
    assert read.notes == {"calibrated": False}


def test_every_label_alone_is_read_with_its_own_number() -> None:
    said = reply({"results": [{"billing": 0.7, "bug": 0.8}]})
    read = instruct.classified(said, request("A bug in my invoice", multi_label=True))
    assert read is not None
    assert read.data == [{"label": "bug", "score": 0.8, "scores": {"billing": 0.7, "bug": 0.8}}]


@pytest.mark.parametrize(
    "said",
    [
        "bug",
        "",
        "[]",
        {"results": []},
        {"results": [{"label": "praise", "confidence": 0.9}]},
        {"results": [{"label": "bug", "confidence": 7}]},
        {"results": [{"label": "bug"}]},
        {"results": [{"label": "bug", "confidence": 0.9}, {"label": "bug", "confidence": 0.9}]},
        {"results": "bug"},
    ],
)
def test_an_answer_that_is_none_is_told_as_such(said: Any) -> None:
    assert instruct.classified(reply(said), request("It crashes")) is None
