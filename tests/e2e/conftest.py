"""One house for all end-to-end tests; each test finds the wire server unscripted and the default budget."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.house import Standing, standing_house


@pytest.fixture(scope="session")
def session_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing_house(tmp_path_factory.mktemp("house") / "data") as house:
        yield house


@pytest.fixture
def house(session_house: Standing) -> Standing:
    session_house.wire.control("reset", {})
    session_house.set_budget(200 * 10**9)
    return session_house
