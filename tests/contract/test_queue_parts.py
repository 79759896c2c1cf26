"""Calls cut into parts and joined again, and which parts travel together: arithmetic, without Redis."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from orchestrator.adapters.providers.queue_line import BATCH_BYTES, COLLECT_S, Caller, Line
from orchestrator.adapters.providers.queue_parts import cut, joined
from orchestrator.core.errors import CallBroken, CallFailed
from orchestrator.core.types import Call, Media, Message, Options, Reply
from registry.load import load
from registry.schema import Task, Usage
from tests.contract.queue_calls import MINILM, call

SIX = tuple("abcdef")  # each counts as 2 tokens: the special ones around it


def texts_of(asked: Call, most_tokens: int, tokens_per_text: int | None = None) -> list[tuple[str, ...]]:
    return [sized.call.texts for sized in cut(asked, most_tokens, tokens_per_text)]


def test_texts_are_cut_in_order_so_that_each_part_stays_within_the_tokens() -> None:
    assert texts_of(call(*SIX), 5) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert texts_of(call(*SIX), 12) == [SIX]


def test_a_text_that_is_too_long_by_itself_travels_alone() -> None:
    long = "x" * 400  # 102 tokens
    assert texts_of(call("a", long, "b"), 50) == [("a",), (long,), ("b",)]


def test_a_text_weighs_no_more_than_the_model_reads_of_it() -> None:
    assert [sized.tokens for sized in cut(call("x" * 40_000), 512, 256)] == [256]


def test_characters_of_several_bytes_weigh_by_their_bytes() -> None:
    assert [sized.tokens for sized in cut(call("ж" * 40), 512)] == [22]


def test_the_query_of_embed_goes_with_the_last_part_and_that_of_rerank_with_each() -> None:
    assert [sized.call.query for sized in cut(call(*SIX, query="q"), 5)] == [None, None, "q"]
    ranked = cut(call(*SIX, query="q", task=Task.RERANK), 8)
    assert [(sized.call.query, sized.tokens) for sized in ranked] == [("q", 8), ("q", 8), ("q", 8)]


def test_what_a_task_needs_whole_is_never_cut() -> None:
    talk = call(task=Task.GENERATE, messages=(Message(role="user", content="long " * 10_000),))
    images = (Media(content_type="image/png", data=b"1"),) * 3
    compared = call(task=Task.VISION, media=images, options=Options(compare=True))
    assert len(cut(talk, 128)) == len(cut(compared, 128)) == 1


def test_an_entailment_model_reads_a_text_once_per_label() -> None:
    asked = call("a", "b", task=Task.CLASSIFY, options=Options(labels=("one", "two", "three")))
    assert [sized.tokens for sized in cut(asked, 6)] == [6, 6]


def reply(data: object, tokens: int = 1, wait_ms: float = 1.0) -> Reply:
    return Reply(usage=Usage(input_tokens=tokens), data=data, timings_ms={"queue_wait": wait_ms, "inference": 10.0})


def test_vectors_are_joined_in_order_and_stay_read_only() -> None:
    parts = [reply(np.full((2, 3), 1.0, np.float32), 4), reply(np.full((1, 3), 2.0, np.float32), 5, wait_ms=9.0)]
    whole = joined(call(*SIX), parts, [2, 1])
    assert whole.data.tolist() == [[1.0] * 3, [1.0] * 3, [2.0] * 3]
    assert (whole.data.dtype, whole.data.flags.writeable, whole.usage.input_tokens) == (np.float32, False, 9)
    assert whole.timings_ms == {"queue_wait": 9.0, "inference": 20.0}


def test_ranks_of_parts_become_one_order_over_all_documents() -> None:
    parts = [
        reply([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]),
        reply([{"index": 0, "score": 0.95}, {"index": 1, "score": 0.1}]),
    ]
    ranked = joined(call(task=Task.RERANK, query="q", options=Options(top_n=3)), parts, [2, 2])
    assert ranked.data == [
        {"index": 2, "score": 0.95},
        {"index": 1, "score": 0.9},
        {"index": 0, "score": 0.1},
    ]


def test_results_per_text_are_strung_together() -> None:
    moods = joined(call(task=Task.SENTIMENT), [reply([{"label": "good"}]), reply([{"label": "bad"}])], [1, 1])
    assert moods.data == [{"label": "good"}, {"label": "bad"}]


def line() -> Line:
    return Line(load().get(MINILM), Task.EMBED)


async def joining(into: Line, *texts: str, now: float = 0.0) -> Caller:
    caller = Caller(call(*texts), asyncio.get_running_loop().create_future(), time.time() + 30)
    into.join(caller, now)
    return caller


async def test_a_line_without_work_under_way_sends_at_once_and_a_busy_one_waits_for_others() -> None:
    waiting = line()
    assert waiting.wait_s(0.0) is None
    await joining(waiting, "a", now=7.0)
    assert waiting.wait_s(7.0) == 0.0
    waiting.under_way["first"] = 7.0
    assert waiting.wait_s(7.001) == pytest.approx(COLLECT_S - 0.001)
    assert waiting.wait_s(7.0 + COLLECT_S) == 0.0


async def test_two_messages_of_a_model_are_under_way_and_more_are_held_back_but_not_for_ever() -> None:
    waiting = line()
    await joining(waiting, "a", now=3.0)
    waiting.under_way.update(one=3.0, two=3.2)
    assert waiting.wait_s(3.5) == pytest.approx(0.5)  # after a second the first may be lost with its worker
    assert waiting.wait_s(4.0) == 0.0


async def test_callers_take_turns_so_that_a_thousand_texts_delay_one_by_a_batch() -> None:
    waiting = line()
    many = await joining(waiting, *(f"text number {number} of many" * 10 for number in range(1000)))
    one = await joining(waiting, "only this")
    first = waiting.take(0.0)
    assert [part.caller for part in first[:2]] == [many, one]
    assert {part.caller for part in waiting.take(0.0)} == {many}


async def test_a_batch_has_at_most_32_callers_and_a_megabyte() -> None:
    waiting = line()
    for _ in range(40):
        await joining(waiting, "a")
    assert [len(waiting.take(0.0)), len(waiting.take(0.0))] == [32, 8]
    for _ in range(3):
        await joining(waiting, "x" * (BATCH_BYTES // 2))
    assert waiting.is_full()
    assert [len(waiting.take(0.0)) for _ in range(3)] == [1, 1, 1]


async def test_a_slow_model_gets_fewer_tokens_per_batch_and_a_fast_one_more() -> None:
    slow, fast = line(), line()
    for each, inference_ms in ((slow, 4000.0), (fast, 1.0)):
        await joining(each, *("x" * 400 for _ in range(6)))  # 612 tokens
        parts = each.take(0.0)
        each.learn(parts, inference_ms / 1e3, {"inference": inference_ms})
        for _ in range(8):
            await joining(each, *("x" * 400 for _ in range(6)))
    assert sum(part.tokens for part in slow.take(0.0)) == 102  # a text at a time: 153 tokens take a second
    assert sum(part.tokens for part in fast.take(0.0)) == 8 * 612


async def test_more_workers_get_more_messages_and_fewer_workers_fewer() -> None:
    waiting = line()
    await joining(waiting, "a", now=0.0)
    parts = waiting.take(0.0)
    for _ in range(4):
        waiting.under_way = {str(number): 0.0 for number in range(64)}
        await joining(waiting, "b", now=0.0)
        assert waiting.wait_s(0.5) is not None  # held back
        waiting.learn(parts, 0.101, {"inference": 100.0})  # and yet it hardly waited
        waiting.take(0.0)
    waiting.under_way = {str(number): 0.0 for number in range(5)}
    await joining(waiting, "c", now=0.0)
    assert waiting.wait_s(0.1) == 0.0  # a sixth may go
    for _ in range(4):
        waiting.learn(parts, 0.4, {"inference": 100.0})  # three others were before it
    assert waiting.wait_s(0.1) != 0.0


async def test_what_is_held_back_is_told_in_seconds_of_work() -> None:
    waiting = line()
    await joining(waiting, "a")
    waiting.learn(waiting.take(0.0), 0.05, {"inference": 50.0})
    assert waiting.held_s() == 0.0
    for _ in range(40):
        await joining(waiting, "a")
    assert waiting.held_s() == pytest.approx(0.1)  # two messages: 32 and 8 callers


async def test_who_leaves_is_not_sent_and_counts_no_more() -> None:
    waiting = line()
    leaving, staying = await joining(waiting, "a"), await joining(waiting, "b")
    waiting.leave(leaving)
    assert [part.caller for part in waiting.take(0.0)] == [staying]
    assert waiting.wait_s(0.0) is None


async def test_the_wait_before_a_message_was_sent_counts_as_waiting_in_the_queue() -> None:
    waiting = line()
    caller = await joining(waiting, "a", now=5.0)
    (part,) = waiting.take(5.25)
    caller.take(part, reply([], wait_ms=3.0))
    assert (await caller.answered).timings_ms == {"queue_wait": 253.0, "inference": 10.0}


async def test_the_first_error_of_a_part_is_the_callers_and_later_replies_are_ignored() -> None:
    caller = await joining(line(), *("x" * 4000 for _ in range(9)))
    assert len(caller.parts) > 1
    failed: CallFailed = CallBroken("its worker failed")
    caller.take(caller.parts[1], failed)
    caller.take(caller.parts[0], reply([]))
    with pytest.raises(CallBroken, match="its worker failed"):
        await caller.answered
