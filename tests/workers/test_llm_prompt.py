"""How turns become a prompt, which options a call may have, how tokens become text: without any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.llm_models import talk, user
from workers.generate.asked import read, safer
from workers.generate.context import pool_tokens
from workers.generate.prompt import TemplateRefused, bare, defused, fitted, folded, joined, plain, rendered
from workers.generate.spoken import Spoken
from workers.modality import Code, Item, Turn, WorkerError

MIB = 1 << 20


def turns(*said: tuple[str, str]) -> tuple[Turn, ...]:
    return talk(*said).turns


def tags(given: Sequence[Turn]) -> str:
    return "".join(f"<{turn.role}>{turn.content}" for turn in given)


def strict(given: Sequence[Turn]) -> str:
    """A template as Gemma's: no system, user and assistant in turns."""
    if any(turn.role == "system" for turn in given):
        raise TemplateRefused("System role not supported")
    if any((turn.role == "user") != (number % 2 == 0) for number, turn in enumerate(given)):
        raise TemplateRefused("roles must alternate")
    return tags(given)


def test_a_template_that_takes_the_turns_is_left_alone() -> None:
    assert rendered(turns(("system", "a"), ("user", "b")), tags) == "<system>a<user>b"


def test_a_control_token_in_a_turns_text_is_taken_apart() -> None:
    given = turns(("user", "a<|end|><s>b"), ("assistant", "<e"))
    assert [turn.content for turn in defused(given, frozenset({"<|end|>", "<s>"}))] == [
        "a<\u2060|end|><\u2060s>b",
        "<e",
    ]
    assert defused(given, frozenset()) == list(given)


def test_a_refused_system_turn_goes_before_the_first_user_turn() -> None:
    given = turns(("system", "a"), ("user", "b"), ("assistant", "c"), ("user", "d"))
    assert rendered(given, strict) == "<user>a\nb<assistant>c<user>d"


def test_refused_neighbours_of_one_role_become_one_turn() -> None:
    given = turns(("system", "a"), ("user", "b"), ("user", "c"), ("system", "x"), ("assistant", "d"), ("user", "e"))
    assert rendered(given, strict) == "<user>a\n\nx\nb\n\nc<assistant>d<user>e"


def test_a_conversation_that_the_model_began_gets_an_empty_user_turn_before_it() -> None:
    assert rendered(turns(("assistant", "Hello"), ("user", "Hi")), strict) == "<user><assistant>Hello<user>Hi"


def test_a_template_that_refuses_everything_is_the_callers_error_in_its_own_words() -> None:
    def never(given: Sequence[Turn]) -> str:
        raise TemplateRefused("only one turn")

    with pytest.raises(WorkerError, match="refuses this conversation: only one turn; begin with a user's") as caught:
        rendered(turns(("user", "a")), never)
    assert caught.value.code is Code.INVALID_INPUT


def test_folding_a_talk_without_a_users_turn_makes_one() -> None:
    assert folded(turns(("system", "a"))) == [Turn(role="user", content="a")]
    assert joined(turns()) == [Turn(role="user", content="")]


def test_without_a_template_turns_are_written_in_plain_words() -> None:
    given = turns(("system", "Be brief."), ("user", "Hi "), ("assistant", "Yes"), ("user", "Now?"))
    assert plain(given) == "Be brief.\nInstruct: Hi\nOutput: Yes\nInstruct: Now?\nOutput:"
    assert bare(turns(("user", "Translate: cat"))) == "Translate: cat"
    assert bare(given) == "Be brief.\nuser: Hi \nassistant: Yes\nuser: Now?"


def letters(given: Sequence[Turn]) -> list[int]:
    return [ord(letter) for turn in given for letter in turn.content]


LONG = turns(
    ("system", "ss"), ("user", "aaaa"), ("assistant", "bbbb"), ("user", "cccc"), ("assistant", "dddd"), ("user", "ee")
)


@pytest.mark.parametrize(
    ("most", "kept", "dropped"),
    [
        (20, "ssaaaabbbbccccddddee", 0),
        (19, "ssccccddddee", 2),
        (12, "ssccccddddee", 2),
        (11, "ssee", 4),
        (4, "ssee", 4),
    ],
)
def test_the_oldest_turns_go_until_it_fits_and_an_answer_never_comes_first(most: int, kept: str, dropped: int) -> None:
    found = fitted(LONG, letters, most)
    assert "".join(map(chr, found.tokens)) == kept
    assert found.dropped_turns == dropped


def test_a_last_turn_that_does_not_fit_is_told_with_both_numbers() -> None:
    with pytest.raises(WorkerError) as caught:
        fitted(LONG, letters, 3)
    assert caught.value.message.startswith(
        "the last turn with the system's has 4 tokens, the model reads at most 3 beside its answer; shorten it"
    )
    with pytest.raises(WorkerError, match=r"^the last turn has 5 tokens"):
        fitted(turns(("user", "aaaaa")), letters, 3)


@given(
    roles=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=12),
    lengths=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    most=st.integers(0, 60),
)
def test_what_is_kept_always_fits_and_holds_every_system_turn_and_the_last(
    roles: list[str], lengths: list[int], most: int
) -> None:
    given = tuple(Turn(role=role, content=chr(97 + number) * lengths[number]) for number, role in enumerate(roles))
    must = letters([*(turn for turn in given[:-1] if turn.role == "system"), given[-1]])
    try:
        found = fitted(given, letters, most)
    except WorkerError:
        speaking = [turn for turn in given if turn.role != "system"]
        least = letters([turn for turn in given if turn.role == "system" or (speaking and turn is speaking[-1])])
        assert len(least) > most
        return
    assert len(found.tokens) <= most
    assert set(must) <= set(found.tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": "hot"}, "temperature is a number from 0 to 10, got 'hot'"),
        ({"temperature": float("nan")}, "temperature is a number from 0 to 10, got nan"),
        ({"temperature": True}, "temperature is a number from 0 to 10, got True"),
        ({"top_p": 1.5}, "top_p is a number from 0 to 1, got 1.5"),
        ({"top_k": -1}, "top_k is a whole number, at least 0, got -1"),
        ({"seed": 1.5}, "seed is a whole number, at least 0, got 1.5"),
        ({"max_tokens": 0}, "max_tokens is a whole number, at least 1, got 0"),
        ({"stop": [""]}, "stop is a list of texts that are not empty, got ['']"),
        ({"stop": 5}, "stop is a list of texts that are not empty, got 5"),
        ({"stop": ["x"] * 17}, "stop holds at most 16 texts, got 17"),
        ({"schema": "object"}, "schema is a JSON schema as an object, got 'object'"),
    ],
)
def test_an_option_that_cannot_be_is_named_with_its_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkerError) as caught:
        read(user("x", **options))
    assert (caught.value.code, caught.value.message) == (Code.INVALID_INPUT, message)


def test_what_is_not_asked_for_has_the_projects_defaults() -> None:
    asked = read(user("x"))
    assert (asked.temperature, asked.top_p, asked.top_k, asked.seed) == (0.3, 0.95, 0, None)
    assert (asked.stop, asked.max_tokens, asked.schema, asked.stream) == ((), 2048, None, False)


def test_stop_strings_are_left_out_beside_a_schema() -> None:
    assert read(user("x", stop=["}"], schema={"type": "object"})).stop == ()


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(WorkerError, match=r"turns\[0\].role is system, user or assistant, got 'robot'"):
        read(Item(turns=(Turn(role="robot", content="x"),)))


def test_a_safer_try_lowers_the_temperature_then_takes_chance_out_then_gives_up() -> None:
    schema = {"type": "object"}
    first = safer(user("x", temperature=0.9, schema=schema))
    assert first is not None
    assert first.options == {"temperature": 0.1, "schema": schema}
    assert safer(user("x")) == user("x", temperature=0.1)
    second = safer(first)
    assert second is not None
    assert second.options["temperature"] == 0.0
    assert safer(second) is None


@pytest.mark.parametrize(
    ("cache_bytes", "context", "available", "tokens"),
    [
        (32 * 1024, 131072, 16 << 30, 16384),  # Llama 3.2 1B: 512 MiB for four answers
        (112 * 1024, 131072, 16 << 30, 4608),  # Llama 3.2 3B: a little more than the least context
        (384 * 1024, 131072, 16 << 30, 4096),  # Phi-3.5 mini: its least context takes 1.5 GiB, and there is room
        (384 * 1024, 131072, 2 << 30, 1280),  # not where a quarter of the memory is 512 MiB
        (32 * 1024, 2048, 16 << 30, 8192),  # a short context: one for each of four
        (112 * 1024, 131072, None, 4608),
        (112 * 1024, 131072, 8 * MIB, 256),
    ],
)
def test_the_context_is_as_long_as_memory_allows(
    cache_bytes: int, context: int, available: int | None, tokens: int
) -> None:
    assert pool_tokens(cache_bytes, context, 4, available) == tokens


def test_a_character_is_said_when_its_last_byte_came_and_a_half_one_never() -> None:
    spoken = Spoken(())
    assert [spoken.add_bytes(bytes([byte])) for byte in "aß😀".encode()] == ["a", "", "ß", "", "", "", "😀"]
    assert spoken.add_bytes("😀".encode()[:3]) == ""
    assert spoken.rest() == ""
    assert spoken.text == "aß😀"


def test_bytes_that_are_no_character_are_said_as_such() -> None:
    spoken = Spoken(())
    assert spoken.add_bytes(b"a\xff\xfeb") == "a\ufffd\ufffdb"


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_known() -> None:
    spoken = Spoken(("END", "stop"))
    assert [spoken.add(piece) for piece in ("a E", "N", "x s", "to", "mp", " EN")] == [
        "a ",
        "",
        "ENx ",
        "",
        "stomp",
        " ",
    ]
    assert spoken.add("D and more") == ""
    assert spoken.stopped
    assert spoken.text == "a ENx stomp "


@given(st.text("abS", max_size=40), st.lists(st.integers(1, 5), min_size=40, max_size=40))
def test_however_a_text_is_cut_it_is_said_up_to_its_first_stop_string(text: str, cuts: list[int]) -> None:
    spoken, said, at = Spoken(("SaS", "bb")), "", 0
    for cut in cuts:
        if spoken.stopped or at >= len(text):
            break
        said += spoken.add(text[at : at + cut])
        at += cut
    said += spoken.rest()
    stops = [text.index(stop) for stop in ("SaS", "bb") if stop in text[:at]]
    if spoken.stopped:
        assert said == spoken.text == text[: len(said)]
        assert len(said) in stops
    else:
        assert said == text[:at]
        assert not stops
