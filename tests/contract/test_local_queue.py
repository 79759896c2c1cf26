"""The queue adapter and the fleet against a real Redis and real worker processes, kills included."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis as blocking
from PIL import Image, ImageDraw, ImageFont

from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.adapters.redis.fleet import FleetReader
from orchestrator.core.errors import CallRefused, CallUnreachable, InferenceFailed
from orchestrator.core.types import Media, Options
from registry.load import load
from registry.schema import Task
from tests.conftest import ServerUrls
from tests.contract.queue_calls import MINILM, call, until
from tests.workers.processes import running_worker

SERVED = ("embeddings", "rerank", "sentiment", "toxicity", "classify", "ocr")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker-data")


@pytest.fixture(scope="module")
def url(servers: ServerUrls, data_dir: Path) -> Iterator[str]:
    """The session's Redis with one worker on it for every modality; emptied once, not per test."""
    with blocking.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    with running_worker(servers.redis_url, data_dir, SERVED):
        yield servers.redis_url


@pytest.fixture
async def provider(url: str) -> AsyncIterator[LocalQueueProvider]:
    opened = LocalQueueProvider(url, load())
    yield opened
    await opened.close()


def replies_pushed(url: str) -> int:
    """Batches answered so far on this server: each is one RPUSH."""
    with blocking.Redis.from_url(url) as client:
        stats: Any = client.info("commandstats")
    return int(stats.get("cmdstat_rpush", {"calls": 0})["calls"])


async def test_texts_come_back_as_unit_vectors_in_order(provider: LocalQueueProvider) -> None:
    reply = await provider.complete(call("The kitten sleeps.", "A young cat is napping.", "Stocks fell."))
    assert (reply.data.shape, reply.data.dtype) == ((3, 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(reply.data, axis=1), 1.0, atol=1e-6)
    kitten, cat, stocks = reply.data
    assert kitten @ cat > 0.6
    assert kitten @ stocks < 0.2
    assert reply.usage.input_tokens == 20  # 6 + 9 (nap ##ping) + 5, the two special tokens included
    assert set(reply.timings_ms) == {"queue_wait", "load", "inference"}


async def test_documents_are_reranked_best_first(provider: LocalQueueProvider) -> None:
    documents = ("Bread needs flour.", "Berlin is the capital of Germany.")
    asked = call(*documents, task=Task.RERANK, query="Germany's capital?", options=Options(top_n=1))
    (best,) = (await provider.complete(asked)).data
    assert best["index"] == 1
    assert 0.5 < best["score"] <= 1.0


async def test_sentiment_and_toxicity_answer_once_per_text(provider: LocalQueueProvider) -> None:
    mood = await provider.complete(call("I love it", "I hate it", task=Task.SENTIMENT, model="vader"))
    words = await provider.complete(call("You moron!", task=Task.TOXICITY, model="toxicity-wordlist"))
    assert [each["label"] for each in mood.data] == ["positive", "negative"]
    assert [each["toxic"] for each in words.data] == [True]


def png(image: Image.Image) -> Media:
    file = io.BytesIO()
    image.save(file, "PNG")
    return Media(content_type="image/png", data=file.getvalue())


async def test_the_text_of_an_image_is_read_and_bad_images_leave_the_worker_alive(
    provider: LocalQueueProvider,
) -> None:
    image = Image.new("RGB", (500, 100), "white")
    ImageDraw.Draw(image).text((20, 20), "Invoice 4711", fill="black", font=ImageFont.load_default(40))
    whole = png(image)
    bad = Media(content_type="image/png", data=whole.data[:300])
    asked = [call(task=Task.OCR, model="ppocr-rapidocr", media=(each,)) for each in (bad, whole, bad, whole)]
    answers = await asyncio.gather(*map(provider.complete, asked), return_exceptions=True)
    for refused in (answers[0], answers[2]):
        assert isinstance(refused, InferenceFailed)
        assert refused.worker_code == "invalid_input"
    for read in (answers[1], answers[3]):
        assert not isinstance(read, BaseException)
        assert read.data[0]["text"] == "Invoice 4711"


async def test_callers_that_arrive_together_travel_as_one_task(url: str, provider: LocalQueueProvider) -> None:
    await provider.complete(call("warm"))
    before = replies_pushed(url)
    texts = [f"sentence number {number}" for number in range(16)]
    together = await asyncio.gather(*(provider.complete(call(text)) for text in texts))
    assert replies_pushed(url) - before == 1
    alone = [await provider.complete(call(text)) for text in texts]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.data, other.data, atol=2e-6)


async def test_a_task_never_carries_more_than_32_callers(url: str, provider: LocalQueueProvider) -> None:
    before = replies_pushed(url)
    await asyncio.gather(*(provider.complete(call(f"text {number}")) for number in range(70)))
    assert replies_pushed(url) - before == 3  # 32 + 32 + 6


async def test_a_caller_with_many_texts_is_sent_in_parts_and_answered_whole(
    url: str, provider: LocalQueueProvider
) -> None:
    texts = [f"sentence number {number} about rivers, trade and weather" for number in range(150)]
    before = replies_pushed(url)
    whole = await provider.complete(call(*texts, query="which river?"))
    assert replies_pushed(url) - before > 1
    assert whole.data.shape == (151, 384)  # the query's vector is the last row
    picked = [0, 77, 149]
    alone = await provider.complete(call(*(texts[number] for number in picked), query="which river?"))
    np.testing.assert_allclose(whole.data[[*picked, 150]], alone.data, atol=2e-6)


async def test_documents_in_parts_are_ranked_as_one(provider: LocalQueueProvider) -> None:
    documents = [f"Number {number}: " + "bread needs flour and water. " * 10 for number in range(40)]
    documents[33] = "Berlin is the capital of Germany."
    asked = call(*documents, task=Task.RERANK, query="Germany's capital?", options=Options(top_n=3))
    best, *others = (await provider.complete(asked)).data
    assert best["index"] == 33
    assert [best["score"] > each["score"] for each in others] == [True, True]


async def test_a_caller_with_one_text_is_not_kept_waiting_by_one_with_a_thousand(
    provider: LocalQueueProvider,
) -> None:
    many = asyncio.create_task(provider.complete(call(*(f"sentence number {n}" for n in range(1000)))))
    await asyncio.sleep(0.05)
    assert (await provider.complete(call("only this one"))).data.shape == (1, 384)
    assert not many.done()
    assert (await many).data.shape == (1000, 384)


async def test_one_callers_error_inside_a_batch_is_nobody_elses(url: str, provider: LocalQueueProvider) -> None:
    before = replies_pushed(url)
    answers = await asyncio.gather(
        *map(provider.complete, (call("good"), call(), call("also good"))), return_exceptions=True
    )
    assert replies_pushed(url) - before == 1
    assert isinstance(answers[1], InferenceFailed)
    assert answers[1].worker_code == "invalid_input"
    assert str(answers[1]) == "minilm-l6-builtin: embed needs at least one text; `texts` is empty"
    assert [each.data.shape for each in (answers[0], answers[2]) if not isinstance(each, BaseException)] == [
        (1, 384),
        (1, 384),
    ]


async def test_a_caller_who_leaves_takes_nobody_along(provider: LocalQueueProvider) -> None:
    leaving = asyncio.create_task(provider.complete(call("leaving")))
    staying = asyncio.create_task(provider.complete(call("staying")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).data.shape == (1, 384)


async def test_a_model_whose_weights_are_absent_answers_with_what_to_bring(
    provider: LocalQueueProvider,
) -> None:
    with pytest.raises(InferenceFailed) as error:
        await provider.complete(call("a", model="bge-small-en-v1.5"))
    assert error.value.worker_code == "model_not_found"
    assert "put the files of BAAI/bge-small-en-v1.5 (Hugging Face) into" in str(error.value)


async def test_what_can_never_be_sent_is_refused_before_it_is_sent(provider: LocalQueueProvider) -> None:
    with pytest.raises(CallRefused, match=r"half a character \(a lone surrogate at position 2\)"):
        await provider.complete(call("ab\ud800"))
    with pytest.raises(CallRefused, match="No model 'nobody' in the registry"):
        await provider.complete(call("a", model="nobody"))
    with pytest.raises(CallRefused, match="claude-sonnet has no queue: it is called over HTTP"):
        await provider.complete(call("a", model="claude-sonnet"))


async def test_what_a_model_answers_whole_is_a_stream_of_one(provider: LocalQueueProvider) -> None:
    async with provider.stream(call("The kitten sleeps.")) as deltas:
        (only,) = [delta async for delta in deltas]
    assert only.text == ""
    assert only.reply is not None
    assert only.reply.data.shape == (1, 384)


async def test_without_redis_a_call_fails_at_once_as_unreachable() -> None:
    nowhere = LocalQueueProvider("redis://127.0.0.1:1/0", load())
    with pytest.raises(CallUnreachable, match="the queue cannot be reached"):
        await nowhere.complete(call("a"))
    await nowhere.close()


async def test_the_fleet_knows_models_queues_and_what_is_missing(url: str) -> None:
    cards = load()
    fleet = FleetReader(url)
    await until(fleet, lambda: fleet.missing(cards.get(MINILM)) is None)
    assert fleet.missing(cards.get("vader")) is None
    assert str(fleet.missing(cards.get("bge-small-en-v1.5"))).startswith("bge-small-en-v1.5 has no weights here; ")
    lacks_weights = "mdeberta-mnli-xnli has no weights here; run `pennyroute models download mdeberta-mnli-xnli`"
    assert str(fleet.missing(cards.get("mdeberta-mnli-xnli"))).startswith(lacks_weights)
    assert set(fleet.queues()) == set(SERVED)
    assert (fleet.queues()["ocr"]["workers"], fleet.queues()["ocr"]["length"]) == (1, 0)
    await fleet.close()


async def test_a_fleet_that_cannot_read_redis_says_so() -> None:
    fleet = FleetReader("redis://127.0.0.1:1/0")
    await fleet.start()
    assert "Redis cannot be read" in (fleet.missing(load().get(MINILM)) or "")
    await fleet.close()
