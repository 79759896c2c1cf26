"""How many items of a model run at once after its batches took more memory than there is."""

from __future__ import annotations

from workers.runtime.pressure import UNBOUNDED, Pressure


def test_a_batch_beyond_the_budget_halves_the_next_ones_down_to_single_items() -> None:
    pressure = Pressure(100)
    assert pressure.most("m") == UNBOUNDED
    assert not pressure.seen("m", 32, 101)
    assert pressure.most("m") == 16
    assert not pressure.seen("m", 32, 150)
    assert not pressure.seen("m", 8, 101)
    assert pressure.most("m") == 4
    for _ in range(2):
        assert not pressure.seen("m", 32, 101)
    assert pressure.most("m") == 1
    assert pressure.most("other") == UNBOUNDED


def test_a_single_item_beyond_the_budget_asks_for_room() -> None:
    pressure = Pressure(100)
    assert pressure.seen("m", 1, 101)
    assert pressure.most("m") == 1


def test_ten_calm_batches_of_full_size_double_it_again() -> None:
    pressure = Pressure(100)
    pressure.seen("m", 8, 101)
    for _ in range(9):
        pressure.seen("m", 8, 79)
    pressure.seen("m", 2, 10)  # too small to show anything
    pressure.seen("m", 8, 90)  # nearly too much
    assert pressure.most("m") == 4
    pressure.seen("m", 8, 79)
    assert pressure.most("m") == 8
