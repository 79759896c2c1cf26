"""The chores of beat: what nobody ended counts as spent after a while."""

from __future__ import annotations

from orchestrator.flow.upkeep import ensure_partitions, expire_texts, sweep_ledger
from tests.flow.house import build
from tests.samples import hold


async def test_a_hold_that_nobody_ended_lapses_and_counts_as_spent() -> None:
    house = build(hold_lapses_after_s=0)
    await house.ledger.reserve(hold(5_000))
    assert await house.money() == (0, 5_000)
    assert await sweep_ledger(house.deps) == 1
    assert await house.money() == (5_000, 0)
    assert await sweep_ledger(house.deps) == 0


async def test_a_young_hold_is_left_alone() -> None:
    house = build(hold_lapses_after_s=900)
    await house.ledger.reserve(hold(5_000))
    assert await sweep_ledger(house.deps) == 0
    assert await house.money() == (0, 5_000)


async def test_a_store_without_partitions_or_old_texts_has_nothing_to_do() -> None:
    house = build()
    assert (await ensure_partitions(house.deps), await expire_texts(house.deps)) == ([], 0)
