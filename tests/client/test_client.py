"""The client against a small real HTTP server: what it sends, what it reads, what it retries."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from pennyroute import (
    Answer,
    AsyncPennyroute,
    BudgetExceeded,
    InvalidAnswer,
    NoModelAvailable,
    Overloaded,
    Pennyroute,
    PennyrouteError,
    Unreachable,
)
from tests.client.server import ANSWER, Reply, Server, events, serving


class Invoice(BaseModel):
    number: str
    total_cents: int


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.says("POST /route", Reply(ANSWER))
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Pennyroute]:
    with Pennyroute(server.url, "pr_secret") as client:
        yield client


def test_a_request_is_sorted_into_options_and_constraints_and_carries_the_key(
    server: Server, client: Pennyroute
) -> None:
    client.route(
        "What is 2+2?",
        strategy="local_only",
        max_tokens=5,
        temperature=0.0,
        max_cost_usd=Decimal("0.001"),
        tags=["a"],
        idempotency_key="once",
    )
    assert server.seen[0]["body"] == {
        "input": "What is 2+2?",
        "strategy": "local_only",
        "tags": ["a"],
        "options": {"max_tokens": 5, "temperature": 0.0},
        "constraints": {"max_cost_usd": "0.001"},
        "stream": False,
    }
    assert server.seen[0]["headers"]["authorization"] == "Bearer pr_secret"
    assert server.seen[0]["headers"]["idempotency-key"] == "once"


def test_an_answer_is_typed_and_its_cost_exact(client: Pennyroute) -> None:
    answer = client.route("What is 2+2?")
    assert (answer.output, answer.model, answer.tier) == ("4", "claude-sonnet", "premium")
    assert (answer.cost_usd, answer.cost_nanousd) == (Decimal("0.000123000"), 123000)
    assert answer.why["complexity"] == "simple"
    assert answer.parsed is None


def test_a_pydantic_model_is_sent_as_json_schema_and_its_instance_comes_back(
    server: Server, client: Pennyroute
) -> None:
    server.says("POST /route", Reply({**ANSWER, "output": '{"number": "R-7", "total_cents": 1250}'}))
    answer = client.route("Read this invoice: R-7, 12.50", schema=Invoice)
    assert answer.parsed == Invoice(number="R-7", total_cents=1250)
    assert server.seen[0]["body"]["options"]["schema"]["required"] == ["number", "total_cents"]


def test_a_plain_schema_gives_plain_json(client: Pennyroute) -> None:
    assert client.route("2+2", schema={"type": "integer"}).parsed == 4


def test_an_output_outside_the_schema_is_an_error_that_shows_it(server: Server, client: Pennyroute) -> None:
    server.says("POST /route", Reply({**ANSWER, "output": "Sorry, no."}))
    with pytest.raises(InvalidAnswer) as raised:
        client.route("Read this", schema=Invoice)
    assert raised.value.problem["output"] == "Sorry, no."


def test_the_task_methods_name_their_task(server: Server, client: Pennyroute, tmp_path: Path) -> None:
    image = tmp_path / "page.png"
    image.write_bytes(b"\x89PNG")
    client.embed(["a", "b"], store=True)
    client.sentiment("Lovely.")
    client.toxicity(["Hm."])
    client.rerank(["a", "b"], query="which?")
    client.ocr(image)
    bodies = [seen["body"] for seen in server.seen]
    assert [body["task"] for body in bodies] == ["embed", "sentiment", "toxicity", "rerank", "ocr"]
    assert bodies[0]["options"] == {"store": True}
    assert bodies[3]["query"] == "which?"
    assert bodies[4]["input"] == {"data": "iVBORw=="}


def test_a_search_returns_the_found_texts_with_their_similarity(server: Server, client: Pennyroute) -> None:
    found = {"id": "e1", "text": "a penny saved", "metadata": {"page": 3}, "similarity": 0.81}
    server.says("POST /embeddings/search", Reply({"results": [found], "cost_usd": "0.000000000"}))
    results = client.search("thrift", limit=1)
    assert [(one.text, one.similarity, one.metadata) for one in results] == [("a penny saved", 0.81, {"page": 3})]
    assert server.seen[0]["body"] == {"query": "thrift", "limit": 1, "model": None}


def test_a_stream_gives_pieces_and_then_the_answer(server: Server, client: Pennyroute) -> None:
    body = events(("decision", {}), ("delta", {"text": "Four"}), ("delta", {"text": "."}), ("answer", ANSWER))
    server.says("POST /route", Reply(body, headers={"content-type": "text/event-stream"}))
    pieces = list(client.stream("What is 2+2?"))
    assert pieces[:2] == ["Four", "."]
    assert isinstance(pieces[2], Answer)
    assert pieces[2].model == "claude-sonnet"
    assert server.seen[0]["body"]["stream"] is True


def test_a_problem_inside_a_stream_is_raised_after_the_pieces(server: Server, client: Pennyroute) -> None:
    problem = {"status": 502, "code": "provider_error", "detail": "the stream was cut", "partial_text": "Fo"}
    server.says("POST /route", Reply(events(("delta", {"text": "Fo"}), ("error", problem))))
    stream = client.stream("What is 2+2?")
    assert next(stream) == "Fo"
    with pytest.raises(PennyrouteError, match="the stream was cut") as raised:
        next(stream)
    assert (raised.value.code, raised.value.status) == ("provider_error", 502)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (402, "budget_exceeded", BudgetExceeded),
        (503, "no_model_available", NoModelAvailable),
        (503, "ledger_unavailable", PennyrouteError),
    ],
)
def test_a_problem_becomes_the_error_of_its_kind(
    server: Server, client: Pennyroute, status: int, code: str, kind: type[PennyrouteError]
) -> None:
    server.says("POST /route", Reply({"status": status, "code": code, "detail": "told", "budget": "global"}, status))
    with pytest.raises(PennyrouteError) as raised:
        client.route("Hi!")
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.message, raised.value.problem["budget"]) == (code, "told", "global")


def test_a_page_of_a_proxy_reads_as_its_status(server: Server, client: Pennyroute) -> None:
    server.says("POST /route", Reply(b"<html>Bad gateway</html>", 502))
    with pytest.raises(PennyrouteError, match="status 502") as raised:
        client.route("Hi!")
    assert raised.value.code == "http_502"


def test_a_429_that_names_its_pause_is_tried_again(server: Server, client: Pennyroute) -> None:
    busy = Reply({"status": 429, "code": "overloaded", "detail": "busy"}, 429, {"retry-after": "0"})
    server.says("POST /route", busy, busy, Reply(ANSWER))
    assert client.route("Hi!").output == "4"
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("retry_after", "max_retries"), [({"retry-after": "0"}, 0), ({}, 2), ({"retry-after": "999"}, 2)]
)
def test_a_429_is_not_tried_again_when_opted_out_unasked_or_too_slow(
    server: Server, retry_after: dict[str, str], max_retries: int
) -> None:
    server.says("POST /route", Reply({"status": 429, "code": "overloaded", "detail": "busy"}, 429, retry_after))
    with Pennyroute(server.url, max_retries=max_retries) as client, pytest.raises(Overloaded):
        client.route("Hi!")
    assert len(server.seen) == 1


def test_a_failed_request_that_may_have_begun_is_never_repeated(server: Server, client: Pennyroute) -> None:
    server.says("POST /route", Reply({"status": 500, "code": "internal", "detail": "oh"}, 500, {"retry-after": "0"}))
    with pytest.raises(PennyrouteError):
        client.route("Hi!")
    assert len(server.seen) == 1


def test_no_server_is_one_error_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with Pennyroute(url, max_retries=1) as client, pytest.raises(Unreachable, match=url):
        client.route("Hi!")


async def test_the_async_client_does_the_same(server: Server) -> None:
    busy = Reply({"status": 429, "code": "overloaded", "detail": "busy"}, 429, {"retry-after": "0"})
    server.says("POST /route", busy, Reply(ANSWER))
    async with AsyncPennyroute(server.url, "pr_secret") as client:
        assert (await client.route("Hi!")).output == "4"
        await client.embed(["a"], store=True)
        server.says("POST /route", Reply(events(("delta", {"text": "Four"}), ("answer", ANSWER))))
        pieces = [piece async for piece in client.stream("Hi!")]
        server.says("POST /route", Reply({"status": 402, "code": "budget_exceeded", "detail": "spent"}, 402))
        with pytest.raises(BudgetExceeded, match="spent"):
            await client.route("Hi!")
    assert pieces[0] == "Four"
    assert isinstance(pieces[1], Answer)
    assert server.seen[2]["body"]["task"] == "embed"


def test_a_label_says_how_good_each_answer_was(server: Server, client: Pennyroute) -> None:
    server.says("POST /labels", Reply({"id": "0193-b", "new": True}, status=201))
    told = client.label({"claude-sonnet": 1.0, "llama-3.2-1b-instruct": 0.0}, request_id="0193-a", source="tests")
    assert told == {"id": "0193-b", "new": True}
    assert server.seen[0]["body"] == {
        "outcomes": {"claude-sonnet": 1.0, "llama-3.2-1b-instruct": 0.0},
        "request_id": "0193-a",
        "source": "tests",
    }


def test_contracts_are_read_as_they_stand(server: Server, client: Pennyroute) -> None:
    server.says("GET /contracts", Reply({"contracts": [{"state": "met"}]}))
    assert client.contracts() == {"contracts": [{"state": "met"}]}


async def test_the_other_client_labels_alike(server: Server) -> None:
    server.says("POST /labels", Reply({"id": "0193-b", "new": True}, status=201))
    server.says("GET /contracts", Reply({"contracts": []}))
    async with AsyncPennyroute(server.url, "pr_secret") as client:
        assert (await client.label({"claude-sonnet": 0.5}, task_class="support", text="Hi!"))["new"]
        assert await client.contracts() == {"contracts": []}
    assert server.seen[0]["body"] == {"outcomes": {"claude-sonnet": 0.5}, "task_class": "support", "text": "Hi!"}


def test_explain_asks_with_the_same_words_and_returns_what_is_told(server: Server, client: Pennyroute) -> None:
    server.says("POST /explain", Reply({"reason": "simple", "plan": []}))
    told = client.explain("Hi!", strategy="local_only", max_tokens=5, quality=0.8, regions=["eu"], task_class="chat")
    assert told == {"reason": "simple", "plan": []}
    assert server.seen[0]["path"] == "/explain"
    assert server.seen[0]["body"] == {
        "input": "Hi!",
        "strategy": "local_only",
        "task_class": "chat",
        "options": {"max_tokens": 5},
        "constraints": {"quality": 0.8, "regions": ["eu"]},
    }


async def test_the_async_client_explains_too(server: Server) -> None:
    server.says("POST /explain", Reply({"reason": "simple"}))
    async with AsyncPennyroute(server.url, "pr_secret") as client:
        assert await client.explain("Hi!") == {"reason": "simple"}
