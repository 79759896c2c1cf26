"""Live labels: how seldom a kept promise is revoked, and how soon a broken one."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.core.contract.watch import Watch
from orchestrator.core.errors import InvalidInput


def watched(watch: Watch, seed: int, *stretches: tuple[int, float], least: float = 1.0) -> list[bool]:
    """After each label whether it is revoked. A stretch is (rows, share of answers that fail); the reference is
    always right. With `least`, failures and half of the rest are labelled always, the others with that chance."""
    dice, told = np.random.default_rng(seed), []
    for rows, failing in stretches:
        for fails in dice.random(rows) < failing:
            chance = 1.0 if fails or dice.random() < 0.5 else least
            if dice.random() < chance:
                watch = watch.observe(served=float(not fails), reference=1.0, inclusion=chance)
            told.append(watch.revoked)
    return told


def test_a_promise_kept_to_a_hair_is_seldom_revoked_however_long_one_looks() -> None:
    revoked = sum(watched(Watch(epsilon=0.05, alpha=0.1), seed, (1500, 0.05))[-1] for seed in range(200))
    assert revoked <= 200 * 0.1 + 3 * 4.2


def test_labels_drawn_with_unequal_chances_do_not_change_that() -> None:
    watch = Watch(epsilon=0.05, alpha=0.1, least_inclusion=0.25)
    revoked = sum(watched(watch, seed, (1500, 0.05), least=0.25)[-1] for seed in range(200))
    assert revoked <= 200 * 0.1 + 3 * 4.2


@pytest.mark.parametrize("good_rows", [0, 1000, 8000])
def test_a_drop_is_seen_also_after_a_long_good_time(good_rows: int) -> None:
    seen = 0
    for seed in range(10):
        told = watched(Watch(epsilon=0.05, alpha=0.05), seed, (good_rows, 0.02), (800, 0.15))
        seen += told[-1] and not any(told[:good_rows])
    assert seen >= 9


def test_once_revoked_stays_revoked() -> None:
    told = watched(Watch(epsilon=0.05, alpha=0.05), 1, (500, 0.5), (5000, 0.0))
    first = told.index(True)
    assert first < 200
    assert all(told[first:])


def test_without_a_row_there_is_no_evidence() -> None:
    watch = Watch(epsilon=0.05)
    assert (watch.wealth, watch.revoked, watch.rows) == (1.0, False, 0)


def test_observing_leaves_the_earlier_watch_as_it_was() -> None:
    before = Watch(epsilon=0.05)
    after = before.observe(served=0.0, reference=1.0)
    assert (before.rows, before.mean, after.rows, after.mean) == (0, 0.0, 1, pytest.approx(-0.475))


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"served": 1.5, "reference": 1.0}, "served"),
        ({"served": 1.0, "reference": -1.0}, "reference"),
        ({"served": 1.0, "reference": 1.0, "inclusion": 0.1}, "inclusion"),
        ({"served": 1.0, "reference": 1.0, "inclusion": 1.5}, "inclusion"),
    ],
)
def test_rows_the_watch_was_not_started_for_are_refused(row: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Watch(epsilon=0.05, least_inclusion=0.25).observe(**row)
    assert caught.value.details["field"] == field
