"""What is read off a request's text, and the class real-looking prompts are read as."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.core.reading import signals
from orchestrator.core.reading.features import ask_of, language, read
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.score import difficulty, read_as
from orchestrator.core.types import Complexity, Media, Message, Options, Request
from registry.schema import Task
from tests.core.prompts import EXPECTED
from tests.samples import request

TOOL = {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}}


def classed(asked: Request) -> Complexity:
    """The class, with what the shipped artefact says."""
    predictor = shipped_predictor()
    return read_as(read(asked), predictor.read(ask_of(asked)), predictor.version, RoutingPolicy()).complexity


@pytest.mark.parametrize(("prompt", "expected"), EXPECTED, ids=[text[:40] for text, _ in EXPECTED])
def test_a_prompt_is_read_as_the_class_a_user_expects(prompt: str, expected: Complexity) -> None:
    assert classed(request(prompt)) is expected


def test_tools_make_even_a_greeting_high() -> None:
    assert classed(request("Hi!", options=Options(tools=(TOOL,)))) is Complexity.HIGH


def test_a_greeting_alone_is_a_plain_ask_and_a_greeting_before_work_is_not() -> None:
    assert read(request("Hello there!")).plain_ask is True
    assert read(request("Hello there! Please build a React app with a login.")).plain_ask is False


def test_the_words_of_pasted_material_are_not_the_asks_words() -> None:
    told = read(request("Summarize this text: a poem about why Python code needs a brand campaign, step by step"))
    assert (told.code, told.creative, told.brand, told.reasoning) == (0.0, 0.0, 0.0, 0.0)


def test_pasted_code_is_seen_wherever_it_stands() -> None:
    assert read(request("What is wrong here?\n\ndef f(x):\n    return g()\n\n" + "# a line of text\n" * 200)).code > 0.5


def test_a_question_after_long_material_is_the_ask() -> None:
    material = "The committee met on Monday and adjourned. " * 200
    told = read(request(f"{material}\n\nCompare both positions, evaluate the trade-offs and justify a recommendation."))
    assert told.reasoning == 1.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Make it better.", 1.0),
        ("Can you fix this?", 0.5),
        ("What is the capital of France?", 0.0),
        ("Is it true that this and that happened in the spring of 1848 in Vienna and Berlin?", 0.0),
    ],
)
def test_a_short_ask_that_points_at_nothing_is_ambiguous(text: str, expected: float) -> None:
    assert read(request(text)).ambiguity == expected


def test_what_was_said_before_is_what_a_short_ask_points_at() -> None:
    turns = (
        Message(role="user", content="Write a haiku."),
        Message(role="assistant", content="Rain."),
        Message(role="user", content="Make it better."),
    )
    assert read(request(messages=turns)).ambiguity == 0.0


def test_lengths_turns_and_images_are_counted() -> None:
    picture = Media(content_type="image/png", data=b"x")
    told = read(
        request(
            messages=(
                Message(role="system", content="Be kind."),
                Message(role="user", content="One. Two! Three?"),
                Message(role="assistant", content="Yes."),
                Message(role="user", content="Must be short? 1. no", images=(picture, picture)),
            )
        )
    )
    assert (told.turns, told.images, told.characters) == (2, 2, 8 + 16 + 4 + 20)
    assert told.tokens == (8 + 16 + 4 + 20) // 4 + 4 * 4
    assert (told.constraints, told.question) == (1, True)


def test_token_estimates_hold_across_scripts() -> None:
    assert read(request("a" * 400)).tokens == 104
    assert read(request("字" * 400)).tokens == 304  # about 0.75 tokens a character, not 0.25


def test_the_last_user_turn_is_the_ask() -> None:
    turns = (
        Message(role="user", content="first"),
        Message(role="assistant", content="answer"),
        Message(role="user", content="second"),
        Message(role="tool", content="result", tool_call_id="1"),
    )
    assert ask_of(request(messages=turns)) == "second"
    assert ask_of(request(task=Task.EMBED, messages=(), texts=("one", "two"))) == "one"
    assert ask_of(request(task=Task.RERANK, messages=(), texts=("one",), query="which?")) == "which?"
    assert ask_of(request(task=Task.OCR, messages=())) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the weather like in Paris?", "en"),
        ("Wie ist das Wetter in Berlin und was ist los?", "de"),
        ("Quel est le temps dans la ville et pour les enfants?", "fr"),
        ("¿Cuál es la capital de España y por qué?", "es"),
        ("Het is niet wat ik van de film dat zou zeggen", "nl"),
        ("尼罗河是一条很长的河", "zh"),
        ("これは日本語の文章です", "ja"),
        ("한국어 문장입니다", "ko"),
        ("Это предложение на русском", "ru"),
        ("هذه جملة باللغة العربية", "ar"),
        ("12345 !!!", "und"),
        ("", "und"),
    ],
)
def test_languages_are_told_by_script_or_common_words(text: str, expected: str) -> None:
    assert language(text) == expected


@given(st.text(max_size=3_000))
def test_any_text_gives_signals_between_zero_and_one(text: str) -> None:
    told = read(request(text))
    assert all(0 <= value <= 1 for value in (told.code, told.maths, told.creative, told.brand, told.reasoning))
    assert 0 <= difficulty(told) <= 1
    assert told.tokens >= 1


@given(st.text(alphabet=st.characters(), max_size=200))
def test_reading_twice_tells_the_same(text: str) -> None:
    asked = request(text)
    assert read(asked) == read(asked)


PATTERNS = [value for value in vars(signals).values() if isinstance(value, re.Pattern)]


@pytest.mark.parametrize("piece", ["\n", "{ \n", ".", "1", "$a", " ", "- ", "hi ", "(", "a", "\\", "字"])
def test_no_pattern_backtracks_on_repeated_characters(piece: str) -> None:
    """On 200,000 characters a quadratic pattern holds this test for minutes (4 s were seen on a tenth of it)."""
    text = piece * (200_000 // len(piece)) + "x"
    for pattern in PATTERNS:
        assert sum(len(found) for found in pattern.findall(text)) <= len(text)


@given(
    st.lists(
        st.sampled_from([*signals.CODE_HINTS, "let x ", "x", "(", "\n", " ", "from a ", "var", ">", "1"]), max_size=8
    )
)
def test_no_shape_of_code_is_missed_for_want_of_a_hint(parts: list[str]) -> None:
    text = "".join(parts)
    if signals.CODE_SHAPES.search(text):
        assert any(hint in text for hint in signals.CODE_HINTS)
