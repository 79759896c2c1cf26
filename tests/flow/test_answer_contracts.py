"""Contracts that read the answer: certified on graded answers, kept by comparing cheap models, on memory twins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.core.contract.certificate import Contract, Reads, State
from orchestrator.core.errors import CallUnreachable, InvalidInput
from orchestrator.core.types import Answer
from orchestrator.flow.certify import certify
from orchestrator.flow.label import label
from orchestrator.flow.route import route
from orchestrator.flow.stream import stream
from orchestrator.ports import Label
from tests.flow.house import LOCAL, MID, PREMIUM, House, build, reply
from tests.samples import new_id, request

SUM = "A farmer has {n} sheep and buys 25 more. How many sheep does he have? Give a number."


async def judged(house: House, count: int, *, agreeing_right: float = 1.0) -> None:
    """Half of the requests have two cheap answers that agree and are mostly right; where they differ both are wrong."""
    for n in range(count):
        agree, right = n % 2 == 0, (n // 2) % 100 < agreeing_right * 100
        other = n + 25 if agree else n + 3
        await house.deps.labels.add(
            Label(
                id=new_id(),
                tenant="default",
                task_class="sums",
                text=SUM.format(n=n),
                outcomes={MID: float(agree and right), PREMIUM: 1.0},
                answers={MID: f"The answer is {n + 25}.", LOCAL: f"The answer is {other}."},
            )
        )


async def made(house: House, **changes: object) -> Contract:
    how = {"tenant": None, "task_class": "sums", "weak": MID, "reference": PREMIUM, "epsilon": 0.05, "delta": 0.1}
    return await certify(house.deps, **{**how, "reads": Reads.ANSWER, "compared": (LOCAL,), "by": "test", **changes})  # type: ignore[arg-type]


async def asked(house: House, n: int = 10) -> Answer:
    return await route(house.deps, request(SUM.format(n=n), task_class="sums"))


async def test_what_agreement_shows_is_certified_and_saves_what_the_query_could_not_tell() -> None:
    house = build()
    await judged(house, 600)
    by_answer = await made(house)
    by_query = await made(house, reads=Reads.QUERY, compared=())
    assert by_answer.state is State.MET
    assert by_answer.certificate.weak_share == pytest.approx(0.5)
    assert by_query.certificate.weak_share < 0.1


async def test_answers_that_agree_are_served_and_others_go_on_to_the_reference() -> None:
    agree = build(local=reply("The answer is 35."), mid=reply("He has 35 sheep. The answer is 35."))
    await judged(agree, 600)
    await made(agree)
    served = await asked(agree)
    assert [attempt.model_id for attempt in served.attempts] == [LOCAL, MID]
    assert served.answered_by.model_id == MID
    assert served.decision.plan.promise is not None
    assert served.decision.plan.promise.reads == "answer"
    differ = build(local=reply("The answer is 34."), mid=reply("The answer is 35."))
    await judged(differ, 600)
    await made(differ)
    assert [attempt.model_id for attempt in (await asked(differ)).attempts] == [LOCAL, MID, PREMIUM]


async def test_without_the_answer_it_is_compared_with_none_is_accepted() -> None:
    right = reply("The answer is 35.")
    house = build(local=CallUnreachable("no local model"), mid=right, premium=right)
    await judged(house, 600)
    await made(house)
    served = await asked(house)
    assert served.answered_by.model_id == PREMIUM
    assert [attempt.accepted for attempt in served.attempts] == [False, False, True]


async def test_a_stream_goes_to_the_reference() -> None:
    house = build()
    await judged(house, 600)
    await made(house)
    async for _ in stream(house.deps, request(SUM.format(n=1), task_class="sums")):
        pass
    assert house.called() == [PREMIUM]


async def test_a_label_of_a_logged_request_brings_the_answers_of_every_model_it_asked() -> None:
    house = build(local=reply("The answer is 35."), mid=reply("The answer is 35."))
    await judged(house, 600)
    await made(house)
    served = await asked(house)
    given = Label(id=new_id(), tenant="default", task_class="", request_id=served.request.id, outcomes={MID: 1.0})
    standing = await label(house.deps, replace(given, outcomes={MID: 1.0, PREMIUM: 1.0}))
    assert standing.label.answers == {LOCAL: "The answer is 35.", MID: "The answer is 35."}
    assert standing.watch is not None
    assert standing.watch.rows == 1


async def test_labels_without_the_answers_say_what_is_missing() -> None:
    house = build()
    await judged(house, 10)
    with pytest.raises(InvalidInput, match="none of 10 labels has a text and the answers of deepseek-chat and gpt-4o"):
        await made(house, compared=("gpt-4o",))
    with pytest.raises(InvalidInput, match="a contract that reads answers needs none"):
        await made(house, learn=True)
