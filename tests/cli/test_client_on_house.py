"""The Python client on the real API: search finds what was stored, schemas come back as instances, streams stream."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw, ImageFont
from pydantic import BaseModel

from orchestrator.house import House
from pennyroute import Answer, AsyncPennyroute, InvalidRequest, NotFound, Pennyroute, Unauthorized

pytestmark = pytest.mark.slow


class Order(BaseModel):
    item: str
    count: int


@pytest.fixture
def client(house: House) -> Iterator[Pennyroute]:
    with Pennyroute(house.address, house.key_file.read_text().strip()) as client:
        yield client


def test_stored_sentences_are_found_again_by_meaning(client: Pennyroute) -> None:
    texts = ["The cat sleeps on the sofa.", "Interest rates rose again.", "Rain is expected tomorrow."]
    answer = client.embed(texts, store=True, metadata={"page": 7})
    assert len(answer.stored_ids) == 3
    assert [len(vector) for vector in answer.output] == [384, 384, 384]
    best = client.search("weather forecast", limit=1)[0]
    assert (best.text, best.metadata, best.id) == (texts[2], {"page": 7}, answer.stored_ids[2])


def test_texts_are_ranked_and_judged_by_real_models(client: Pennyroute) -> None:
    ranked = client.rerank(["Paris is in France.", "Bread is baked."], query="capital of France").output
    assert ranked[0]["index"] == 0
    assert client.sentiment("What a lovely day!").output[0]["label"] == "positive"
    assert client.toxicity("Have a nice day.").output[0]["toxic"] is False


def test_a_rendered_image_is_read(client: Pennyroute) -> None:
    page = Image.new("RGB", (420, 90), "white")
    ImageDraw.Draw(page).text((20, 20), "INVOICE 4711", fill="black", font=ImageFont.load_default(40))
    written = io.BytesIO()
    page.save(written, "PNG")
    assert "INVOICE 4711" in client.ocr(written.getvalue()).output[0]["text"]


def test_a_pydantic_schema_goes_out_and_an_instance_comes_back(client: Pennyroute) -> None:
    answer = client.route("Read the order.", schema=Order, model="claude-sonnet", max_tokens=200)
    assert isinstance(answer.parsed, Order)


def test_an_answers_whole_story_is_kept(client: Pennyroute) -> None:
    answer = client.route("Hi!", model="deepseek-chat", max_tokens=60, max_cost_usd="0.01", tags=["story"])
    story = client.inference(answer.id)
    assert story["cost_nanousd"] == answer.cost_nanousd > 0
    assert [attempt["model_id"] for attempt in story["attempts"]] == ["deepseek-chat"]


def test_errors_are_typed(client: Pennyroute, house: House) -> None:
    with pytest.raises(InvalidRequest) as raised:
        client.route("Hi!", temperature=9.0)
    assert raised.value.problem["field"] == "options.temperature"
    with pytest.raises(NotFound):
        client.route("Hi!", model="no-such-model")
    with Pennyroute(house.address, "pr_wrong") as stranger, pytest.raises(Unauthorized):
        stranger.models()


async def test_the_async_client_streams_and_answers(house: House) -> None:
    async with AsyncPennyroute(house.address, house.key_file.read_text().strip()) as client:
        pieces = [piece async for piece in client.stream("Hi!")]
        answer = pieces[-1]
        assert isinstance(answer, Answer)
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == answer.output
        assert (await client.sentiment("Awful.")).output[0]["label"] == "negative"
