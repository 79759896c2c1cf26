"""What a worker keeps of its times: the last load, and a mean of its messages that moves on."""

from __future__ import annotations

import pytest

from workers.runtime.pace import Measured


def test_nothing_is_known_before_it_was_measured_and_the_last_load_counts() -> None:
    measured = Measured()
    assert (measured.load_ms, measured.inference_ms) == (None, None)
    measured.loaded(900.0)
    measured.loaded(400.0)
    assert measured.load_ms == 400.0


def test_the_first_twenty_messages_weigh_alike() -> None:
    measured = Measured()
    for took_ms in (100.0, *[10.0] * 19):
        measured.answered(took_ms)
    assert measured.inference_ms == pytest.approx(14.5)


def test_later_messages_move_the_mean_by_a_twentieth_each_so_that_old_times_fade() -> None:
    measured = Measured()
    for _ in range(20):
        measured.answered(10.0)
    measured.answered(30.0)
    assert measured.inference_ms == pytest.approx(11.0)
    for _ in range(100):
        measured.answered(30.0)
    assert measured.inference_ms == pytest.approx(30.0, abs=0.2)
