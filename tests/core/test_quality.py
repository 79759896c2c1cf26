"""Grades of replies: each signal alone, and that a caller's schema fetches nothing and breaks nothing."""

from __future__ import annotations

import http.server
import json
import threading
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.quality import json_schema
from orchestrator.core.quality.judge import Evidence, judge, load
from orchestrator.core.types import FinishReason, Options, Reply, ToolCall
from registry.schema import Task, Usage
from tests.samples import request

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALIBRATED = load(files("orchestrator.core").joinpath("artefacts", "quality.json").read_bytes())
CALLED = (ToolCall(id="1", name="f", arguments="{}"),)


def grade(text: str | None = "Four.", *, options: Options | None = None, **changes: Any) -> float:
    reply = Reply(usage=Usage(), text=text, **changes)
    return judge(request(options=options or Options()), reply).value


@pytest.mark.parametrize(
    ("expected", "text", "changes"),
    [
        (0.75, "Four.", {}),
        (0.0, "", {}),
        (0.0, " \n", {}),
        (0.0, None, {}),
        (0.75, None, {"tool_calls": CALLED}),
        (0.4, "Four and", {"finish_reason": FinishReason.LENGTH}),
        (0.2, "Four.", {"finish_reason": FinishReason.REFUSAL}),
        (0.2, "I'm sorry, but I can't help with that.", {}),
        (0.75, "The clerk said: I'm sorry, but I can't help with that.", {}),
        (0.15, "one two three four five six seven eight " * 4, {}),
        (0.75, "one two three four five six seven eight " * 2, {}),
        (0.75, "ha " * 100, {}),
        (0.08, "I'm sorry, but", {"finish_reason": FinishReason.LENGTH}),
        (0.95, "2 + 2 is 4.", {}),
        (0.15, "2 + 2 is 5.", {}),
    ],
)
def test_a_broken_promise_caps_the_grade_at_its_own_value(
    expected: float, text: str | None, changes: dict[str, Any]
) -> None:
    assert grade(text, **changes) == pytest.approx(expected)


def test_a_cut_is_milder_where_the_caller_asked_for_a_short_answer() -> None:
    reply = Reply(usage=Usage(), text="Four and", finish_reason=FinishReason.LENGTH)
    assert judge(request(options=Options(max_tokens=2)), reply).signals["complete"] == 0.8


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (0.75, '{"city": "Rome"}'),
        (0.3, '{"city": 5}'),
        (0.3, "[]"),
        (0.0, "Rome"),
        (0.0, '{"city"'),
        (0.0, "[" * 9_999),
    ],
)
def test_a_schema_is_kept_or_not(expected: float, text: str) -> None:
    reply = Reply(usage=Usage(), text=text)
    assert judge(request("Where is the Colosseum?", options=Options(schema=CITY)), reply).value == expected


def test_a_tool_call_needs_no_schema() -> None:
    assert grade(None, options=Options(schema=CITY), tool_calls=CALLED) == 0.75


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$ref": "#/$defs/none"}, {"$ref": "http://127.0.0.1:1/"}])
def test_a_schema_that_cannot_be_evaluated_is_kept_by_nothing(schema: dict[str, Any]) -> None:
    asked = request("Where is the Colosseum?", options=Options(schema=schema))
    assert judge(asked, Reply(usage=Usage(), text="{}")).value == 0.3


def test_no_schema_makes_this_process_open_an_address() -> None:
    asked: list[str] = []

    class Seen(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "object"}')

    server = http.server.HTTPServer(("127.0.0.1", 0), Seen)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    schema = {"$ref": f"http://127.0.0.1:{server.server_port}/schema"}
    assert json_schema.fits(schema, {}) is False
    assert "points outside it" in (json_schema.objection(schema) or "")
    server.shutdown()
    server.server_close()
    assert asked == []


@pytest.mark.parametrize(
    ("schema", "objection"),
    [
        (CITY, None),
        ({}, None),
        ({"$defs": {"a": {"$anchor": "here"}}, "$ref": "#here"}, None),
        ({"enum": [{"$ref": "http://is.data"}]}, None),
        ({"properties": {"$ref": {"type": "string"}}}, None),
        ({"type": "objct"}, "is not a JSON schema: 'objct' is not valid under any of the given schemas"),
        ({"$ref": "#/$defs/a"}, "has the reference '#/$defs/a', which points at nothing"),
    ],
)
def test_a_schema_is_usable_or_told_why_not(schema: dict[str, Any], objection: str | None) -> None:
    assert json_schema.objection(schema) == objection


@given(text=st.text(max_size=300), reason=st.sampled_from(FinishReason), schema=st.sampled_from([None, CITY]))
def test_every_reply_is_graded_between_zero_and_one(
    text: str, reason: FinishReason, schema: dict[str, Any] | None
) -> None:
    assert 0.0 <= grade(text, options=Options(schema=schema), finish_reason=reason) <= 1.0


def test_other_tasks_are_graded_by_whether_they_answered() -> None:
    asked = request(task=Task.EMBED, messages=(), texts=("x",))
    assert judge(asked, Reply(usage=Usage(), data=[[0.1]])).value == 1.0
    assert judge(asked, Reply(usage=Usage())).value == 0.0


def test_the_grade_carries_its_signals() -> None:
    told = judge(
        request(),
        Reply(usage=Usage(), text="Four and", finish_reason=FinishReason.LENGTH),
        Evidence(neighbours=0.25, mean_logprob=0.0),
    )
    assert json.loads(json.dumps(dict(told.signals))) == {
        "answered": 1.0,
        "complete": 0.4,
        "willing": 1.0,
        "valid": 1.0,
        "fresh": 1.0,
        "format": 1.0,
        "language": 1.0,
        "arithmetic": 1.0,
        "code": 1.0,
        "on_topic": 1.0,
        "neighbours": 0.25,
        "token_probability": 1.0,
    }


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        ("Hi there!", "Hello! How can I help you today?"),
        ("Thanks!", "You're welcome!"),
        ("What is the capital of France?", "Paris."),
        (
            "Write a haiku about autumn",
            "Crisp leaves drift and fall\nGold light on the quiet pond\nGeese call, then silence",
        ),
        ("Tell me a joke", "Why did the scarecrow win an award? He was outstanding in his field."),
        ("Write a Python function that reverses a list", "```python\ndef reverse(items):\n    return items[::-1]\n```"),
        ("Give me 3 ideas for a party", "1. A picnic\n2. A cooking evening\n3. A treasure hunt"),
        ("Translate to German: good morning, how are you and what is the news?", "Guten Morgen, wie geht es dir?"),
        ("Draft a mail to my boss", "Hi Anna,\n\nI would like Friday off.\n\nBest regards,\nTom"),
        ("Schreibe eine kurze Karte für die Oma", "Liebe Oma, alles Gute zum Geburtstag!"),
        ("I'm feeling sad today", "I'm sorry to hear that. Do you want to talk about it?"),
        ("How much is 15% of 80?", "15% of 80 is 12."),
        ("A shirt costs $20 and is 25% off. How much is it now?", "The shirt costs $15 now."),
        ("Solve for x: 2x + 3 = 11", "2x = 8, so x = 4."),
        ("What is 17 * 23?", "391"),
    ],
)
def test_an_ordinary_complete_reply_is_accepted_with_and_without_labels(ask: str, text: str) -> None:
    reply = Reply(usage=Usage(), text=text)
    assert judge(request(ask), reply).value >= 0.6
    assert CALIBRATED(request(ask), reply).value >= 0.6


APPLES = "Ann has 3 bags of 12 apples and eats 5 of them. How many apples are left?"
RIGHT = "3 * 12 = 36 and 36 - 5 = 31. The answer is 31."


def calibrated(text: str = RIGHT, ask: str = APPLES, **known: Any) -> float:
    return CALIBRATED(request(ask), Reply(usage=Usage(), text=text), Evidence(**known)).value


def other(text: str) -> Reply:
    return Reply(usage=Usage(), text=text)


def test_answers_that_agree_raise_the_grade_and_answers_that_differ_lower_it() -> None:
    alone = calibrated()
    assert calibrated(earlier=(other("She has 31 left."),)) > alone + 0.05
    assert calibrated(earlier=(other("#### 29"),)) < alone - 0.05
    assert calibrated(earlier=(other("#### 29"), other("It is 29."))) < calibrated(earlier=(other("#### 29"),)) - 0.05


def test_answers_that_come_to_nothing_are_no_evidence() -> None:
    assert calibrated(earlier=(other("I do not know."), other(""))) == calibrated()


def test_what_is_known_of_like_prompts_and_predicted_moves_the_grade_its_way() -> None:
    assert calibrated(neighbours=0.9) > calibrated() > calibrated(neighbours=0.1)
    assert calibrated(predicted=0.9) > calibrated() > calibrated(predicted=0.1)
    assert calibrated(predicted=0.9, neighbours=0.1) == calibrated(predicted=0.9)
    hello = "Hello! What can I do for you?"
    assert calibrated(hello, "Hi!", neighbours=0.0) == 0.375
    assert calibrated(hello, "Hi!", neighbours=1.0) == 0.875
    assert calibrated(hello, "Hi!", predicted=0.1) == 0.75


def test_sure_tokens_raise_the_grade_and_unsure_ones_lower_it() -> None:
    grades = [calibrated("Hello!", "Hi!", mean_logprob=mean) for mean in (-0.2, -0.5, -1.4, -50.0)]
    assert grades == [0.8318, 0.75, 0.401, 0.401]


def test_no_evidence_lifts_a_grade_over_a_broken_promise() -> None:
    everything: dict[str, Any] = {"neighbours": 1.0, "predicted": 0.98, "mean_logprob": 0.0, "earlier": (other(RIGHT),)}
    assert calibrated("3 * 12 = 35, so 30 are left. The answer is 30.", **everything) == 0.15
    assert calibrated("I'm sorry, but I can't help with that.", **everything) == 0.2
    assert calibrated("", **everything) == 0.0


LONG = (
    "Start with a small bowl of flour and water. Leave it near a window for a day, then feed it again with the same "
    "amount of flour. After a week it smells sour and is full of air."
)


def test_a_long_reply_far_from_its_question_is_about_something_else() -> None:
    question = "What should I know of flour?"
    assert calibrated(LONG, question, relevance=0.85) == pytest.approx(0.75, abs=0.01)
    assert calibrated(LONG, question, relevance=0.5) < 0.1
    assert calibrated("Paris.", question, relevance=0.5) == 0.75
    assert calibrated(LONG, "Write something about flour", relevance=0.5) == 0.75


def test_a_cross_encoder_that_was_not_measured_is_taken_at_its_word() -> None:
    question, by = "What should I know of flour?", "ms-marco-minilm-l12-v2"
    assert calibrated(LONG, question, relevance=0.98, relevance_by=by) == pytest.approx(0.75, abs=0.01)
    assert calibrated(LONG, question, relevance=0.5, relevance_by=by) == pytest.approx(0.7125, abs=0.001)
    assert calibrated(LONG, question, relevance=0.0, relevance_by=by) == pytest.approx(0.21, abs=0.005)


def test_what_was_learned_of_one_rerankers_relevance_is_not_said_of_anothers() -> None:
    other = calibrated(RIGHT, relevance=0.1, relevance_by="ms-marco-minilm-l12-v2")
    assert other == calibrated(RIGHT)


@pytest.mark.parametrize(
    ("expected", "ask", "text", "threshold"),
    [
        (True, "What should I know of flour?", LONG, 0.5),
        (False, "What should I know of flour?", "It is ground corn.", 0.5),
        (False, "Write something about flour", LONG, 0.5),
        (False, APPLES, LONG, 0.5),
        (False, "What should I know of flour?", LONG, 0.0),
        (False, "What should I know of flour?", LONG, 0.9),
        (False, "What should I know of flour?", "I'm sorry, but I can't help with that. " + LONG, 0.5),
    ],
)
def test_relevance_is_only_wanted_where_it_could_decide(expected: bool, ask: str, text: str, threshold: float) -> None:
    reply = Reply(usage=Usage(), text=text)
    assert CALIBRATED.relevance_counts(request(ask), reply, threshold) is expected
    assert judge.relevance_counts(request(ask), reply, threshold) is False


def test_the_shipped_judge_says_how_often_it_accepts() -> None:
    assert CALIBRATED.rerankers == judge.rerankers == ("ms-marco-minilm-l12-v2", "minilm-l6-builtin")
    assert 0.7 < CALIBRATED.accept_right < 0.9
    assert 0.4 < CALIBRATED.accept_wrong < 0.65
    assert CALIBRATED.agreed_wrong < 0.3
    assert CALIBRATED.agreed_right > 0.7
    assert (judge.accept_right, judge.accept_wrong) == (0.95, 0.85)


@given(
    text=st.text(max_size=200),
    ask=st.sampled_from([APPLES, "Hi!", "Which?\nA. one\nB. two", "Why is it so?"]),
    relevance=st.none() | st.floats(0, 1),
    neighbours=st.none() | st.floats(0, 1),
    predicted=st.none() | st.floats(0, 1),
    logprob=st.none() | st.floats(-100, 0),
    earlier=st.lists(st.text(max_size=40), max_size=3),
)
def test_whatever_is_known_or_missing_the_grade_is_a_probability(
    text: str,
    ask: str,
    relevance: float | None,
    neighbours: float | None,
    predicted: float | None,
    logprob: float | None,
    earlier: list[str],
) -> None:
    known = Evidence(
        earlier=tuple(map(other, earlier)),
        relevance=relevance,
        mean_logprob=logprob,
        neighbours=neighbours,
        predicted=predicted,
    )
    for each in (judge, CALIBRATED):
        assert 0.0 <= each(request(ask), other(text), known).value <= 1.0
