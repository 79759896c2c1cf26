"""200 paid requests at once on a budget that holds exactly 10: `python -m tests.e2e.budget_rush` shows it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.e2e.house import Standing, standing_house
from tests.e2e.load import Told, all_at_once, statuses

REQUESTS, AFFORDABLE = 200, 10
# 30 bytes of prompt and 16 for the message at $2, 100 output tokens at $10 per million tokens.
HOLD_NANOUSD = 46 * 2_000 + 100 * 10_000
BODY: Any = {"input": "What is the capital of France?", "model": "claude-sonnet", "options": {"max_tokens": 100}}


@dataclass(frozen=True, kw_only=True)
class Rush:
    told: Sequence[Told]
    provider_calls: int
    spent_nanousd: int
    reserved_nanousd: int
    stats_nanousd: int
    disagreements: int


async def rush(house: Standing) -> Rush:
    """Sets the budget, asks, and reads everything back. The provider bills the dearest answer: cost = hold."""
    house.wire.always(latency_ms=100, usage_mode="full", usage={"input_tokens": 46})
    before = house.value("select coalesce(sum(spent_nanousd), 0)::bigint from budget_states")
    counted = house.wire.worked()
    stats = house.call("GET", "/stats")[1]["cost_nanousd"]
    house.set_budget(house.used_nanousd() + AFFORDABLE * HOLD_NANOUSD)
    told = await all_at_once(house, [BODY] * REQUESTS)
    (state,) = house.rows("select spent_nanousd, reserved_nanousd from budget_states")
    return Rush(
        told=told,
        provider_calls=house.wire.worked() - counted,
        spent_nanousd=state["spent_nanousd"] - before,
        reserved_nanousd=state["reserved_nanousd"],
        stats_nanousd=house.call("GET", "/stats")[1]["cost_nanousd"] - stats,
        disagreements=house.value("select count(*) from ledger_disagreements"),
    )


def main() -> None:
    console = Console()
    console.print(f"Starting a house with two API processes; its budget will hold {AFFORDABLE} calls …")
    with (
        tempfile.TemporaryDirectory(prefix="pennyroute-rush-") as folder,
        standing_house(Path(folder) / "data") as house,
    ):
        done = asyncio.run(rush(house))
    refusal = next(told.body for told in done.told if told.status == 402)
    console.print(f"{REQUESTS} requests at once were answered with {statuses(done.told)}")
    console.print(f"the provider counted {done.provider_calls} paid calls")
    console.print(f"spent {done.spent_nanousd} nano-dollars ({AFFORDABLE} holds are {AFFORDABLE * HOLD_NANOUSD}),")
    console.print(f"  stats say {done.stats_nanousd}, still reserved {done.reserved_nanousd}")
    console.print(f"disagreements in the books: {done.disagreements}")
    console.print(f"a refusal says: {refusal['detail']}", soft_wrap=True)


if __name__ == "__main__":
    main()
