"""Both engines on tiny models: what comes out, what is said meanwhile, and what ends an answer early."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.llm_models import GGUF, TORCH, answer, ask, error, loaded, talk, user
from workers.generate.writer import Writer
from workers.modality import Code, WorkerError


@pytest.fixture(scope="module", params=(GGUF, TORCH))
def writer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    with loaded(tmp_path_factory.mktemp("models"), request.param) as found:
        yield found


def test_an_answer_tells_its_text_its_tokens_why_it_ended_and_how_sure_the_model_was(writer: Writer) -> None:
    found = answer(writer, user("What is the capital of France?", max_tokens=12, temperature=0))
    assert found["text"]
    assert found["finish_reason"] == "length"
    assert found["output_tokens"] == 12
    assert found["tokens"] == len(writer.read(user("What is the capital of France?").turns))
    assert -20.0 <= found["mean_logprob"] < 0.0
    assert found["dropped_turns"] == 0


def test_greedy_answers_are_the_same_every_time(writer: Writer) -> None:
    item = user("Say yes or no.", max_tokens=16, temperature=0)
    assert answer(writer, item)["text"] == answer(writer, item)["text"]


def test_a_seed_repeats_an_answer_and_another_seed_gives_another(writer: Writer) -> None:
    first, again, other = (
        answer(writer, user("Write.", max_tokens=24, temperature=1.5, top_p=1, seed=seed))["text"] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_top_k_one_is_greedy_whatever_the_temperature(writer: Writer) -> None:
    greedy = answer(writer, user("Write.", max_tokens=16, temperature=0))["text"]
    assert answer(writer, user("Write.", max_tokens=16, temperature=5.0, top_k=1))["text"] == greedy


def test_one_token_is_one_token(writer: Writer) -> None:
    found = answer(writer, user("Write.", max_tokens=1, temperature=0))
    assert found["output_tokens"] == 1
    assert found["finish_reason"] == "length"


def test_items_of_one_batch_answer_as_they_would_alone(writer: Writer) -> None:
    items = (
        user("Say yes or no.", max_tokens=8, temperature=0),
        user("A cat sat on the mat, and what did it look at?", max_tokens=20, temperature=0),
        user("x", max_tokens=1, temperature=0),
    )
    together = ask(writer, *items)
    assert [found["output_tokens"] for found in together if not isinstance(found, WorkerError)] == [8, 20, 1]
    assert together == [answer(writer, item) | {"mean_logprob": pytest.approx(found["mean_logprob"], abs=0.05)}
                        for item, found in zip(items, together, strict=True)]  # fmt: skip


def test_more_items_than_there_are_slots_are_all_answered(writer: Writer) -> None:
    found = ask(writer, *(user(f"Number {number}", max_tokens=4, seed=1) for number in range(11)))
    assert [each["output_tokens"] for each in found if not isinstance(each, WorkerError)] == [4] * 11


def test_an_items_own_error_leaves_the_others_alone(writer: Writer) -> None:
    wrong, right = ask(writer, user("x", temperature=-1), user("x", max_tokens=2))
    assert isinstance(wrong, WorkerError)
    assert wrong.code is Code.INVALID_INPUT
    assert wrong.message == "temperature is a number from 0 to 10, got -1"
    assert not isinstance(right, WorkerError)


@pytest.mark.parametrize("temperature", [0, 2.0])
def test_the_pieces_said_are_the_text_and_no_piece_holds_half_a_character(writer: Writer, temperature: float) -> None:
    said: list[tuple[int, str]] = []
    items = (
        user("Größe 😀", max_tokens=60, temperature=temperature, top_p=1, seed=5, stream=True),
        user("Straße", max_tokens=60, temperature=temperature, top_p=1, seed=6),
        user("東京", max_tokens=60, temperature=temperature, top_p=1, seed=7, stream=True),
    )
    found = ask(writer, *items, say=lambda number, text: said.append((number, text)))
    texts = ["".join(text for number, text in said if number == each) for each in range(3)]
    assert texts[0] == found[0]["text"]  # type: ignore[index]
    assert texts[1] == ""
    assert texts[2] == found[2]["text"]  # type: ignore[index]
    assert len(said) > 10
    for _, text in said:
        text.encode()


def test_a_stop_string_across_tokens_ends_the_answer_and_is_never_said(writer: Writer) -> None:
    pieces: list[str] = []
    item = user("Write.", max_tokens=150, temperature=0, stream=True)
    whole = answer(writer, item, say=lambda _, text: pieces.append(text))["text"]
    readable = [each.isascii() for each in pieces]
    border = next(at for at in range(8, len(pieces)) if readable[at - 1] and readable[at])
    stop = pieces[border - 1] + pieces[border]
    said: list[str] = []
    item = user("Write.", max_tokens=150, temperature=0, stop=[stop, "never there"], stream=True)
    found = answer(writer, item, say=lambda _, text: said.append(text))
    assert found["text"] == whole[: whole.index(stop)] != ""
    assert found["finish_reason"] == "stop"
    assert "".join(said) == found["text"]


def test_what_only_looks_like_a_stop_string_is_said_in_the_end(writer: Writer) -> None:
    whole = answer(writer, user("Write.", max_tokens=30, temperature=0))["text"]
    found = answer(writer, user("Write.", max_tokens=30, temperature=0, stop=[whole[-3:] + "and more"]))
    assert found["text"] == whole


def test_an_empty_prompt_is_a_turn_like_another(writer: Writer) -> None:
    assert answer(writer, user("", max_tokens=3))["output_tokens"] == 3


def test_no_turns_at_all_is_an_error(writer: Writer) -> None:
    found = error(writer, talk())
    assert (found.code, found.message) == (Code.INVALID_INPUT, "generate needs at least one turn; `turns` is empty")


def test_texts_are_taken_as_the_users_words(writer: Writer) -> None:
    from workers.modality import Item  # noqa: PLC0415

    item = Item(texts=("Say yes or no.",), options={"max_tokens": 5, "temperature": 0})
    assert answer(writer, item)["text"] == answer(writer, user("Say yes or no.", max_tokens=5, temperature=0))["text"]


def test_what_is_too_long_is_refused_with_its_tokens_and_the_next_call_works(writer: Writer) -> None:
    asked = user("word " * 70_000)
    tokens = len(writer.read(asked.turns))
    found = error(writer, asked)
    assert tokens > 70_000
    assert found.code is Code.INVALID_INPUT
    assert found.message == (
        f"the last turn has {tokens} tokens, the model reads at most 1536 beside its answer; shorten it, or ask for "
        "fewer max_tokens or a model with a longer context"
    )
    assert answer(writer, user("Hi", max_tokens=2))["output_tokens"] == 2


def test_megabytes_are_refused_at_once_and_a_past_of_megabytes_is_dropped(writer: Writer) -> None:
    found = error(writer, user("word " * 210_000))
    assert found.message.startswith("the last turn has at least 4101 tokens, the model reads at most 1536 beside")
    found = error(writer, user("word " * 2_000_000))
    assert found.message.startswith("the last turn has at least 39062 tokens, the model reads at most 1536 beside")
    past = [("user", "word " * 100_000), ("assistant", "word " * 100_000)] * 10
    assert answer(writer, talk(*past, ("user", "Now?"), max_tokens=2))["dropped_turns"] == 20


def test_a_prompt_that_fills_the_context_gets_the_answer_that_is_left(writer: Writer) -> None:
    found = answer(writer, user("7 " * 700, temperature=0, max_tokens=5000))
    assert found["finish_reason"] == "length"
    assert found["tokens"] + found["output_tokens"] == 2048


def test_when_the_context_overflows_the_oldest_turns_go_and_the_answer_says_how_many(writer: Writer) -> None:
    old = [("user", "7 " * 300), ("assistant", "8 " * 300)] * 3
    found = answer(writer, talk(("system", "Be brief."), *old, ("user", "Now?"), max_tokens=8, temperature=0))
    kept = talk(("system", "Be brief."), *old[:2], ("user", "Now?"), max_tokens=8, temperature=0)
    assert found["dropped_turns"] == 4
    assert found["text"] == answer(writer, kept)["text"]


def test_a_caller_who_left_ends_the_generation_and_the_others_go_on(writer: Writer) -> None:
    said: list[str] = []
    items = (
        user("Write.", max_tokens=1500, temperature=1.0, top_p=1, seed=3, stream=True),
        user("Write.", max_tokens=40, temperature=0),
    )
    gone, stayed = ask(
        writer,
        *items,
        say=lambda _, text: said.append(text),
        stopped=lambda number: number == 0 and len(said) > 3,
    )
    assert isinstance(gone, WorkerError)
    assert (gone.code, gone.message) == (
        Code.TIMEOUT,
        "nobody waits for this answer any more; it was stopped",
    )
    assert not isinstance(stayed, WorkerError)
    assert stayed["output_tokens"] == 40
    assert len(said) < 1000
    assert answer(writer, user("Hi", max_tokens=2))["output_tokens"] == 2


def test_a_batch_that_nobody_waits_for_ends_while_its_prompts_are_read(writer: Writer) -> None:
    asked = user("7 " * 700, max_tokens=300)
    found = ask(writer, *[asked] * 6, stopped=lambda _: True)
    assert [each.code for each in found if isinstance(each, WorkerError)] == [Code.TIMEOUT] * 6


def test_a_deadline_ends_what_runs_and_what_waits(writer: Writer) -> None:
    items = [user("Write.", max_tokens=1900, temperature=1.0, top_p=1, seed=each) for each in range(40)]
    found = ask(writer, *items, deadline=time.monotonic() + 0.02)
    late = [each for each in found if isinstance(each, WorkerError)]
    assert len(late) > 8  # forty answers of some hundred tokens take a second; a few end by themselves in time
    assert {each.code for each in late} == {Code.TIMEOUT}
    assert late[0].message.startswith("the deadline passed while the model wrote")
    assert answer(writer, user("Hi", max_tokens=2))["output_tokens"] == 2


def test_an_end_of_turn_ends_the_answer(writer: Writer) -> None:
    """Random weights end a turn by chance, once in some hundred tokens of a flat distribution."""
    items = [user("Write.", max_tokens=400, temperature=10.0, top_p=1, seed=each) for each in range(4)]
    found = [each for each in ask(writer, *items) if not isinstance(each, WorkerError)]
    ended = [each for each in found if each["finish_reason"] == "stop"]
    assert ended
    assert all(each["output_tokens"] < 400 for each in ended)
    assert not any("<|eot_id|>" in each["text"] for each in ended)


def test_greedy_text_of_the_same_weights_agrees_across_engines(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415

    from tests.tiny.llm import save_llama  # noqa: PLC0415

    (tmp_path / TORCH).mkdir()
    save_llama(tmp_path / TORCH, torch.float32)
    items = [
        talk(("system", "Be brief."), ("user", text), max_tokens=40, temperature=0)
        for text in ("What is the capital of France?", "Größe, Straße, 東京 😀!", "def add(first: int):\n    return")
    ]
    with loaded(tmp_path, TORCH) as one, loaded(tmp_path, GGUF, exact=True) as other:
        for item in items:
            by_torch, by_llama = answer(one, item), answer(other, item)
            assert by_torch["tokens"] == by_llama["tokens"]
            assert by_torch["text"] == by_llama["text"]
            assert by_torch["output_tokens"] == by_llama["output_tokens"] == 40
