"""The main job on real input, as a newcomer would try it: every part is real, only the providers are local."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.e2e.house import LOCAL_MODEL, Standing
from tests.workers.test_ocr import LINES, encoded, page

pytestmark = pytest.mark.slow

REFUSES = "I'm sorry, I can't help with that."
ANSWERS = "The capital of France is Paris."
LONG = "Paris, on the river Seine, has been the capital of France for most of the time since the tenth century."
SIMPLE = "What is the capital of France?"


def test_sentences_are_embedded_by_the_real_minilm_and_found_again_by_meaning(house: Standing) -> None:
    texts = ["A cat sleeps on the sofa.", "The stock market fell sharply.", "Bread needs flour, water and salt."]
    answer = house.route(task="embed", input=texts, options={"store": True}, metadata={"from": "e2e"})
    assert [len(vector) for vector in answer["output"]] == [384, 384, 384]
    assert (answer["tier"], answer["cost_nanousd"]) == ("builtin", 0)
    status, found = house.call("POST", "/embeddings/search", {"query": "shares lost value", "limit": 2})
    assert status == 200, found
    best, second = found["results"]
    assert best["text"] == "The stock market fell sharply."
    assert best["id"] == answer["stored_ids"][1]
    assert best["metadata"] == {"from": "e2e"}
    assert 1 >= best["similarity"] > second["similarity"]


def test_a_rendered_image_is_read_by_the_real_ocr(house: Standing) -> None:
    answer = house.route(task="ocr", input={"data": base64.b64encode(encoded(page())).decode()})
    (read,) = answer["output"]
    for line in LINES:
        assert line in read["text"]
    assert (answer["model"], answer["cost_nanousd"]) == ("ppocr-rapidocr", 0)


def test_a_sentence_has_a_sentiment(house: Standing) -> None:
    answer = house.route(task="sentiment", input=["I love this!", "This is awful."])
    assert [each["label"] for each in answer["output"]] == ["positive", "negative"]


def test_a_prompt_falls_back_through_the_real_sdk_when_the_first_rung_fails(house: Standing) -> None:
    house.wire.script({"do": "error", "status": 500, "model": LOCAL_MODEL}, {"text": ANSWERS})
    answer = house.route(input=SIMPLE)
    failed, served = answer["why"]["attempts"]
    assert (failed["model"], failed["tier"], failed["ending"]) == (f"wire/{LOCAL_MODEL}", "local", "released")
    assert failed["error_code"] == "provider_error"
    assert (served["model"], served["tier"], served["ending"]) == ("deepseek-chat", "mid", "settled")
    assert answer["output"] == ANSWERS
    assert answer["cost_nanousd"] == served["cost_nanousd"] > 0
    agents = [request["headers"]["user-agent"] for request in house.wire.control("requests")]
    assert [agent.split("/")[0] for agent in agents] == ["AsyncOpenAI", "AsyncOpenAI"]


def test_a_prompt_escalates_when_the_first_answer_is_not_good_enough(house: Standing) -> None:
    house.wire.script({"text": REFUSES, "model": LOCAL_MODEL}, {"text": REFUSES}, {"text": ANSWERS})
    answer = house.route(input=SIMPLE)
    attempts = answer["why"]["attempts"]
    assert [attempt["tier"] for attempt in attempts] == ["local", "mid", "premium"]
    assert [attempt["ending"] for attempt in attempts] == ["settled", "settled", "settled"]
    assert [attempt["accepted"] for attempt in attempts] == [False, False, True]
    assert (answer["model"], answer["output"]) == ("claude-sonnet", ANSWERS)
    assert answer["cost_nanousd"] == attempts[1]["cost_nanousd"] + attempts[2]["cost_nanousd"]
    status, story = house.call("GET", f"/inferences/{answer['id']}")
    assert status == 200
    assert [row["output"] for row in story["attempts"]] == [REFUSES, REFUSES, ANSWERS]
    assert story["cost_nanousd"] == answer["cost_nanousd"]


@pytest.mark.parametrize("model", ["claude-sonnet", "gpt-4o", "deepseek-chat", f"wire/{LOCAL_MODEL}"])
def test_an_answer_is_streamed_piece_by_piece_and_ends_with_its_cost(house: Standing, model: str) -> None:
    house.wire.script({"text": LONG})
    events = streamed(house, {"input": SIMPLE, "model": model, "stream": True})
    names = [name for name, _ in events]
    assert (names[0], names[-1]) == ("decision", "answer")
    assert names[1:-1] == ["delta"] * (len(names) - 2)
    assert len(names) > 4
    assert "".join(data["text"] for name, data in events if name == "delta") == LONG
    assert events[-1][1]["output"] == LONG
    logged = house.value(
        "select sum(cost_nanousd)::bigint from model_inferences where request_id = %s", events[-1][1]["id"]
    )
    assert events[-1][1]["cost_nanousd"] == logged
    assert (logged == 0) == model.startswith("wire/")


def streamed(house: Standing, body: object) -> list[tuple[str, Any]]:
    """(event, data) of each server-sent event."""
    with httpx.stream("POST", f"{house.address}/route", json=body, headers=house.headers, timeout=30) as answer:
        assert answer.status_code == 200
        blocks = "".join(answer.iter_text()).strip().split("\n\n")
    pairs = [block.split("\n") for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def test_stats_show_each_model_with_cost_and_latency_equal_to_the_database(house: Standing) -> None:
    house.wire.script({"text": ANSWERS}, {"text": ANSWERS})
    house.route(input=SIMPLE, model="claude-sonnet")
    house.route(input=SIMPLE, model="gpt-4o")
    house.route(task="sentiment", input="Fine.")
    command = [sys.executable, "-m", "orchestrator.cli", "stats", "--json", "--data-dir", str(house.data_dir)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    stats = json.loads(said)
    by_model = {(row["task"], row["model_id"]): row for row in stats["models"]}
    logged = house.rows(
        "select task, model_id, count(*) as attempts, sum(cost_nanousd)::bigint as cost_nanousd"
        " from model_inferences group by task, model_id"
    )
    assert {key: (row["attempts"], row["cost_nanousd"]) for key, row in by_model.items()} == {
        (row["task"], row["model_id"]): (row["attempts"], row["cost_nanousd"]) for row in logged
    }
    assert by_model["generate", "claude-sonnet"]["cost_nanousd"] > 0
    assert by_model["sentiment", "vader"]["p50_latency_ms"] > 0
    # what the log cannot show is a hold that a killed process left behind: it counts as spent and has no row
    lost = "select coalesce(sum(cost_nanousd), 0)::bigint from attempts where state = 'lapsed'"
    lost += " and not exists (select from model_inferences i where i.id = attempts.id)"
    spent = house.value("select sum(spent_nanousd)::bigint from budget_states")
    assert stats["cost_nanousd"] == spent - house.value(lost)
    assert house.rows("select * from ledger_disagreements") == []
