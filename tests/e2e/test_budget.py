"""A budget holds over any number of concurrent requests and processes."""

from __future__ import annotations

import pytest

from tests.e2e.budget_rush import HOLD_NANOUSD, rush
from tests.e2e.house import Standing
from tests.e2e.load import statuses

pytestmark = pytest.mark.slow


async def test_two_hundred_paid_requests_on_a_budget_for_ten_reach_the_provider_ten_times(house: Standing) -> None:
    assert house.supervisor.pid("api-1") != house.supervisor.pid("api-2")
    done = await rush(house)
    assert statuses(done.told) == {200: 10, 402: 190}
    assert done.provider_calls == 10
    assert (done.spent_nanousd, done.reserved_nanousd) == (10_920_000, 0)
    assert done.stats_nanousd == 10_920_000
    assert done.disagreements == 0
    for refused in (told for told in done.told if told.status == 402):
        assert refused.content_type == "application/problem+json"
        assert refused.body["code"] == "budget_exceeded"
        assert refused.body["budget"] == "global"
        assert "budget 'global' has $0" in refused.body["detail"]
    paid = [told.body for told in done.told if told.status == 200]
    assert {answer["cost_nanousd"] for answer in paid} == {1_092_000}
    assert HOLD_NANOUSD == 1_092_000


async def test_a_refused_budget_still_lets_our_own_machines_answer(house: Standing) -> None:
    house.set_budget(0)
    answer = house.route(input="Hi!")
    assert (answer["tier"], answer["cost_nanousd"]) == ("local", 0)
