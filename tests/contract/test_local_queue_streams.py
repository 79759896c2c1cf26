"""Streams of local models through a real Redis and a real worker process: pieces, cuts, and callers who leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis as blocking

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.errors import CallBroken, CallTimedOut, InferenceFailed
from registry.schema import Task
from tests.conftest import ServerUrls
from tests.contract.queue_calls import call
from tests.contract.queue_talks import diary, heard, talk, talking_worker, until_noted
from tests.contract.talking_worker import registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("talking")


@pytest.fixture(scope="module")
def url(servers: ServerUrls, data_dir: Path) -> Iterator[str]:
    with blocking.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    with talking_worker(servers.redis_url, data_dir):
        yield servers.redis_url


@pytest.fixture
async def provider(url: str) -> AsyncIterator[LocalQueueProvider]:
    opened = LocalQueueProvider(url, registry())
    yield opened
    await opened.close()


async def test_pieces_come_in_order_and_the_last_carries_the_whole_reply(provider: LocalQueueProvider) -> None:
    deltas = await heard(provider, talk(pieces=5, pause_s=0.05))
    assert [delta.text for delta in deltas[:-1] if delta.text] == ["word0 ", "word1 ", "word2 ", "word3 ", "word4 "]
    assert [delta.reply is None for delta in deltas] == [True] * (len(deltas) - 1) + [False]
    reply = deltas[-1].reply
    assert reply is not None
    assert (reply.text, reply.usage.input_tokens, reply.usage.output_tokens) == (
        "word0 word1 word2 word3 word4 ",
        7,
        5,
    )


async def test_pieces_arrive_while_the_model_still_talks(provider: LocalQueueProvider) -> None:
    async with provider.stream(talk(pieces=20, pause_s=0.1)) as deltas:
        first = await anext(deltas)
        assert first.text == "word0 "
        assert provider.batches_under_way == 1


async def test_two_readers_of_one_batch_hear_their_own_words(provider: LocalQueueProvider) -> None:
    both = await asyncio.gather(heard(provider, talk(pieces=3)), heard(provider, talk(pieces=6)))
    assert ["".join(delta.text for delta in each) for each in both] == [
        "word0 word1 word2 ",
        "word0 word1 word2 word3 word4 word5 ",
    ]


async def test_a_thousand_pieces_lose_none(provider: LocalQueueProvider) -> None:
    deltas = await heard(provider, talk(pieces=1000, pause_s=0.0005))
    assert "".join(delta.text for delta in deltas) == "".join(f"word{number} " for number in range(1000))


async def test_a_model_that_says_nothing_meanwhile_answers_in_one_piece(provider: LocalQueueProvider) -> None:
    (only,) = await heard(provider, talk(pieces=2, silent=True))
    assert only.text == "word0 word1 "
    assert only.reply is not None


async def test_who_does_not_read_along_gets_the_whole_answer_at_once(provider: LocalQueueProvider) -> None:
    reply = await provider.complete(talk(pieces=3))
    assert reply.text == "word0 word1 word2 "


async def test_an_answer_that_is_not_what_was_streamed_is_an_error(provider: LocalQueueProvider) -> None:
    with pytest.raises(CallBroken, match="another text than it had streamed"):
        await heard(provider, talk(pieces=2, answer="nothing of the kind"))


async def test_a_reader_who_leaves_stops_the_model_between_two_words(
    provider: LocalQueueProvider, data_dir: Path
) -> None:
    before = len(diary(data_dir))
    async with provider.stream(talk(pieces=1000, pause_s=0.02)) as deltas:
        await anext(deltas)
    assert (await heard(provider, talk(pieces=1)))[-1].reply is not None  # the worker is free long before 20 s
    assert diary(data_dir)[before:] == ["batch of 1", "batch of 1", "item 0: 1 words"]


async def test_a_caller_who_is_cancelled_stops_the_model_too(provider: LocalQueueProvider, data_dir: Path) -> None:
    before = len(diary(data_dir))
    waiting = asyncio.create_task(provider.complete(talk(pieces=1000, pause_s=0.02)))
    await until_noted(data_dir, "batch of 1", before)
    waiting.cancel()
    assert (await provider.complete(talk(pieces=1))).text == "word0 "
    assert diary(data_dir)[before:] == ["batch of 1", "batch of 1", "item 0: 1 words"]


async def test_a_caller_whose_time_is_up_stops_the_model_too(provider: LocalQueueProvider, data_dir: Path) -> None:
    before = len(diary(data_dir))
    with pytest.raises(CallTimedOut, match=r"talker did not answer within 0\.5 s"):
        await provider.complete(talk(pieces=1000, pause_s=0.02, timeout_s=0.5))
    assert (await provider.complete(talk(pieces=1))).text == "word0 "
    assert diary(data_dir)[before:] == ["batch of 1", "batch of 1", "item 0: 1 words"]


async def test_one_of_two_callers_leaves_and_the_other_is_answered_whole(
    provider: LocalQueueProvider, data_dir: Path
) -> None:
    before = len(diary(data_dir))
    leaving = asyncio.create_task(provider.complete(talk(pieces=60, pause_s=0.02)))
    staying = asyncio.create_task(provider.complete(talk(pieces=60, pause_s=0.02)))
    await until_noted(data_dir, "batch of 2", before)
    leaving.cancel()
    assert len(str((await staying).text).split()) == 60
    lines = await until_noted(data_dir, "item 1: 60 words", before)
    assert lines[0] == "batch of 2"
    assert int(lines[1].removeprefix("item 0: ").removesuffix(" words")) < 60


async def test_work_still_queued_is_not_begun_when_everybody_left(provider: LocalQueueProvider, data_dir: Path) -> None:
    before = len(diary(data_dir))
    first = asyncio.create_task(provider.complete(talk(pieces=25, pause_s=0.02)))
    await until_noted(data_dir, "batch of 1", before)
    queued = asyncio.create_task(provider.complete(talk(pieces=7)))
    await asyncio.sleep(0.1)  # sent, and behind the first
    queued.cancel()
    await first
    assert (await provider.complete(talk(pieces=1))).text == "word0 "
    assert diary(data_dir)[before:] == ["batch of 1", "item 0: 25 words", "batch of 1", "item 0: 1 words"]


async def test_nothing_is_left_in_redis_when_streams_are_over(url: str, provider: LocalQueueProvider) -> None:
    await heard(provider, talk(pieces=3, pause_s=0.03))
    with blocking.Redis.from_url(url) as client:
        left = {key.decode().split(":")[1] for key in client.scan_iter("pennyroute:*")}
    assert left.isdisjoint({"payload", "tries", "said"})  # notes to and from those who left earlier expire


async def test_a_queue_without_a_modality_answers_instead_of_hanging(provider: LocalQueueProvider) -> None:
    with pytest.raises(InferenceFailed, match="classify has no worker on this installation yet"):
        await provider.complete(call("a", task=Task.CLASSIFY, model="mdeberta-mnli-xnli"))
