"""supabase/tests where pgTAP is to be had; the other tests of this folder make the same claims without it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.database.tap import FILES, MISSING, failed, load_pgtap, run


def test_there_are_files_to_run() -> None:
    names = ["inferences.test.sql", "learning.test.sql", "ledger.test.sql", "row_level_security.test.sql"]
    assert [file.name for file in FILES] == names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_claim_of_the_file_holds(postgres_url: str, file: Path) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with connection.transaction():
            if not load_pgtap(connection):
                pytest.skip(MISSING)
        tap = run(connection, file)
    assert not failed(tap), tap


@pytest.mark.parametrize("tap", ["1..2\nok 1\nnot ok 2", "1..2\nok 1", "ok 1", ""])
def test_a_failed_or_missing_claim_is_noticed(tap: str) -> None:
    assert failed(tap)
