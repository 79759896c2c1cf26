"""A model that only generates classifies when it is told how: chosen, asked, paid for and read back."""

from __future__ import annotations

import json

import pytest

from orchestrator.core.errors import AllRungsFailed, NoModelAvailable
from orchestrator.core.types import Options, Request
from orchestrator.flow.route import route
from registry.schema import Task
from tests.flow.house import LOCAL, MID, PREMIUM, UP, House, build, reply

SAID = json.dumps({"results": [{"label": "bug", "confidence": 0.9}]})


def request(house: House, model: str | None = None) -> Request:
    options = Options(labels=("billing", "bug"))
    return Request(id=house.clock.new_id(), task=Task.CLASSIFY, texts=("It crashes",), options=options, model=model)


async def test_our_own_language_model_classifies_where_no_classifier_is_there() -> None:
    house = build(local=reply(SAID), up=UP - {"minilm-l6-builtin"})
    answer = await route(house.deps, request(house))
    assert (answer.answered_by.model_id, answer.reply.data[0]["label"]) == (LOCAL, "bug")


async def test_a_classifier_is_asked_before_a_language_model() -> None:
    house = build(up=UP | {"mdeberta-mnli-xnli"}, local=lambda call: reply(f"asked to {call.task}"))
    answer = await route(house.deps, request(house))
    assert answer.decision.plan.rungs[0].model_id == "mdeberta-mnli-xnli"


async def test_a_paid_model_classifies_when_it_is_named_and_is_paid_for() -> None:
    house = build(mid=reply(SAID))
    answer = await route(house.deps, request(house, MID))
    assert answer.reply.data[0]["label"] == "bug"
    assert await house.money() == (answer.cost_nanousd, 0)
    assert answer.cost_nanousd > 0


async def test_nobody_is_paid_to_classify_unasked() -> None:
    house = build(up=frozenset({MID}), mid=reply(SAID))
    with pytest.raises(NoModelAvailable):
        await route(house.deps, request(house))


async def test_an_answer_without_labels_has_failed_and_cost_what_it_cost() -> None:
    house = build(mid=reply("It is a bug, I think."))
    with pytest.raises(AllRungsFailed, match="something else than the labels asked for"):
        await route(house.deps, request(house, MID))
    spent, reserved = await house.money()
    assert (spent > 0, reserved) == (True, 0)


async def test_a_model_that_refuses_a_temperature_is_sent_none() -> None:
    house = build(premium=reply(SAID))
    await route(house.deps, request(house, PREMIUM))
    (call,) = house.providers["anthropic"].calls
    assert call.options.temperature is None
    assert call.options.schema is not None
