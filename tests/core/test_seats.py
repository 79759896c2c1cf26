"""Who stands for whom in a replay."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.recorded import Outcome, Recorded
from orchestrator.core.replay.seats import Seating, complete, means, seating
from registry.load import load

MEANS = {"tiny": 0.4, "fair": 0.6, "good": 0.8, "best": 0.9}


def seated(found: Seating) -> Mapping[str, str]:
    return {seat.recorded: seat.card.id for seat in found.seats}


def row(**outcomes: float) -> Recorded:
    return Recorded(
        id="q", text="q", cluster="q", outcomes={name: Outcome(quality=value) for name, value in outcomes.items()}
    )


def test_means_are_over_the_rows_that_have_the_model_the_worst_first() -> None:
    assert means([row(big=1.0, small=0.0), row(big=0.5)]) == {"small": 0.0, "big": 0.75}
    assert list(means([row(b=0.5, a=0.5, c=0.1)])) == ["c", "a", "b"]


def test_by_default_the_lowest_stands_for_local_the_highest_for_premium_the_middle_one_for_mid() -> None:
    found = seating(MEANS, load())
    assert seated(found) == {"tiny": "llama-3.2-1b-instruct", "good": "deepseek-chat", "best": "claude-sonnet"}
    assert (found.names[found.weak], found.names[found.strong]) == ("tiny", "best")
    assert "lowest stands for local" in found.how


def test_two_models_are_local_and_premium() -> None:
    assert seated(seating({"a": 0.5, "b": 0.7}, load())) == {"a": "llama-3.2-1b-instruct", "b": "claude-sonnet"}


def test_the_ends_can_be_named() -> None:
    found = seating(MEANS, load(), weak="fair", strong="good")
    assert seated(found) == {"fair": "llama-3.2-1b-instruct", "good": "claude-sonnet"}
    worse = seating(MEANS, load(), weak="best", strong="tiny")  # a strong model may be worse: the rows decide
    assert (worse.names[worse.weak], worse.names[worse.strong]) == ("best", "tiny")


def test_recorded_names_that_are_all_cards_play_themselves() -> None:
    found = seating({"claude-sonnet": 0.9, "gpt-4o": 0.8, "deepseek-chat": 0.7}, load())
    assert set(seated(found).values()) == {"claude-sonnet", "gpt-4o", "deepseek-chat"}
    assert found.how == "each under its own card"


def test_the_callers_map_decides_and_only_its_models_play() -> None:
    found = seating(MEANS, load(), told={"tiny": "deepseek-chat", "best": "gpt-4o"})
    assert seated(found) == {"tiny": "deepseek-chat", "best": "gpt-4o"}
    assert found.how == "as --map says"


@pytest.mark.parametrize(
    ("told", "weak", "strong", "words"),
    [
        ({"tinny": "gpt-4o"}, None, None, "no row holds an answer of 'tinny'; the rows hold tiny, fair, good, best"),
        ({"tiny": "gpt-4p", "best": "claude-sonnet"}, None, None, "cannot stand for 'gpt-4p': No model 'gpt-4p'"),
        ({"tiny": "vader", "best": "claude-sonnet"}, None, None, "'vader' does not generate text"),
        ({"tiny": "gpt-4o", "best": "gpt-4o"}, None, None, "two recorded models stand for one card"),
        ({"tiny": "gpt-4o"}, None, None, "one model leaves nothing to choose"),
        ({"tiny": "gpt-4o", "best": "claude-sonnet"}, "good", None, "'good' has no card; add --map good=CARD"),
        ({}, "best", "best", "weak and strong are both 'best'"),
        ({}, None, "nobody", "no row holds an answer of 'nobody'"),
    ],
)
def test_what_cannot_be_seated_is_told(told: dict[str, str], weak: str | None, strong: str | None, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        seating(MEANS, load(), told=told, weak=weak, strong=strong)
    assert words in caught.value.message


def test_one_recorded_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="one model leaves nothing to choose; the rows hold only"):
        seating({"only": 0.5}, load())


def test_only_rows_that_every_player_answered_count() -> None:
    whole, half = row(a=1.0, b=0.0), row(a=1.0)
    assert complete([whole, half], ["a", "b"]) == [whole]
