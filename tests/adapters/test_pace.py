"""Paces by hand: what calls teach, what one wild call does not, and how long a queue makes a call wait."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.pace import Paces, wait_ms
from orchestrator.core.types import Pace
from registry.load import load
from registry.schema import Card

RATIOS = st.floats(allow_nan=True, allow_infinity=True)


def after(*ratios: float) -> float:
    paces = Paces()
    for ratio in ratios:
        paces.observe("m", latency_ratio=ratio, output_ratio=1.0)
    return paces.of("m").slowness


def test_a_model_that_was_not_called_is_as_stated() -> None:
    paces = Paces()
    paces.observe("other", latency_ratio=3.0, output_ratio=2.0)
    assert paces.of("m") == Pace(wait_ms=0.0, slowness=1.0, verbosity=1.0)
    assert paces.of("m", 120.0) == Pace(wait_ms=120.0, slowness=1.0, verbosity=1.0)


def test_time_and_output_are_learned_apart() -> None:
    paces = Paces()
    for _ in range(200):
        paces.observe("m", latency_ratio=4.0, output_ratio=0.5)
    pace = paces.of("m", 7.0)
    assert pace.slowness == pytest.approx(4.0, rel=0.001)
    assert pace.verbosity == pytest.approx(0.5, rel=0.001)
    assert pace.wait_ms == 7.0


def test_twenty_calls_teach_most_of_it() -> None:
    assert after(*[4.0] * 20) == pytest.approx(3.1, abs=0.05)


@pytest.mark.parametrize("wild", [20.0, 1e9, math.inf])
def test_one_wild_call_moves_the_pace_a_little_and_is_forgotten(wild: float) -> None:
    assert after(wild) == pytest.approx(1.65, abs=0.01)
    assert after(*[1.0] * 50, wild) == pytest.approx(1.16, abs=0.01)
    assert after(*[1.0] * 50, wild, *[1.0] * 50) == pytest.approx(1.01, abs=0.005)


def test_half_and_twice_as_slow_are_as_stated_together() -> None:
    assert after(*[0.5, 2.0] * 100) == pytest.approx(1.0, abs=0.05)


def test_what_is_no_number_says_nothing() -> None:
    assert after(2.0, math.nan) == after(2.0)


@given(st.lists(RATIOS, max_size=60))
def test_a_pace_stays_within_its_bounds_whatever_was_measured(ratios: list[float]) -> None:
    assert 0.1 <= after(*ratios) <= 20.0


@given(st.lists(st.floats(0.1, 20), max_size=30), st.floats(0.1, 20), st.floats(0.1, 20))
def test_a_slower_call_never_makes_a_model_faster(before: list[float], one: float, other: float) -> None:
    assert after(*before, min(one, other)) <= after(*before, max(one, other))


def card(**facts: Any) -> Card:
    return Card.model_validate({**load().get("minilm-l6-builtin").model_dump(), **facts})


def announced(**facts: Any) -> dict[str, dict[str, Any]]:
    known = {"missing": None, "loaded": True, "resident_bytes": 1, "load_ms": 900.0, "inference_ms": 40.0}
    return {"minilm-l6-builtin": {**known, **facts}}


@pytest.mark.parametrize(
    ("workers", "messages", "expected"),
    [
        ([announced()], 0, 0.0),
        ([announced()], 3, 120.0),
        ([announced(), announced(inference_ms=80.0)], 3, 90.0),
        ([announced(), {}], 3, 60.0),  # the other has older cards, but takes messages as well
        ([announced(loaded=False)], 0, 900.0),
        ([announced(loaded=False)], 3, 1020.0),
        ([announced(loaded=False), announced(loaded=False, load_ms=1100.0)], 0, 1000.0),
        ([announced(loaded=False), announced()], 0, 0.0),
        ([announced(loaded=False, load_ms=None, inference_ms=None)], 0, 1413.35235),  # 500 + 91 MB at 100 MB/s
        ([announced(inference_ms=None)], 2, 2000.0),
        ([{"minilm-l6-builtin": {"missing": None, "loaded": True, "resident_bytes": 1}}], 0, 0.0),  # an older worker
        ([], 4, 5413.35235),
    ],
)
def test_a_call_waits_for_the_messages_before_it_and_for_the_load(
    workers: list[dict[str, dict[str, Any]]], messages: int, expected: float
) -> None:
    assert wait_ms(card(), workers, messages) == pytest.approx(expected)


def test_a_card_that_knows_no_size_of_its_files_is_taken_by_its_memory() -> None:
    assert wait_ms(card(variants=(), memory_bytes=200_000_000), [], 0) == 2500.0
    assert wait_ms(card(variants=(), memory_bytes=None), [], 0) == 500.0
