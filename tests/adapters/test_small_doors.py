"""The small adapters: copies that age, files kept, settings read live, ids and time, the health of a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import cached
from orchestrator.adapters.blobs import FolderBlobs
from orchestrator.adapters.cached import CachedKeys, CachedPolicies
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.health import LiveHealth
from orchestrator.adapters.live_settings import LiveSettings
from orchestrator.adapters.memory import MemoryKeys, MemoryOverrides, MemoryPolicies
from orchestrator.core.errors import InvalidInput, NotFound, StoreUnavailable
from orchestrator.settings import Settings

# -- copies -----------------------------------------------------------------------------------------


async def test_a_known_key_is_remembered_and_an_unknown_one_asked_for_again() -> None:
    behind = MemoryKeys()
    keys = CachedKeys(behind)
    assert await keys.find(b"hash") is None
    made = await keys.create("ci", "acme", "operator", b"hash")
    assert await keys.find(b"hash") == made
    behind._keys.clear()
    assert await keys.find(b"hash") == made  # for two seconds


async def test_a_revoked_key_is_forgotten_once_its_copy_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "FRESH_S", 0.0)
    behind = MemoryKeys()
    keys = CachedKeys(behind)
    await keys.create("ci", "acme", "operator", b"hash")
    assert await keys.find(b"hash") is not None
    behind._keys.clear()
    assert await keys.find(b"hash") is None


async def test_the_policy_is_the_one_behind() -> None:
    behind = MemoryPolicies()
    assert await CachedPolicies(behind).current() is await behind.current()


# -- files ------------------------------------------------------------------------------------------


async def test_a_file_comes_back_as_it_went(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    blob_id = await blobs.put(b"\x00bytes", "image/png")
    assert await blobs.get(blob_id) == (b"\x00bytes", "image/png")
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("wrong", ["../../etc/passwd", "", "x" * 32, "A" * 32, "0" * 31])
async def test_an_id_is_never_a_path(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(InvalidInput, match="is not a blob id"):
        await FolderBlobs(tmp_path).get(wrong)


async def test_a_file_that_is_not_there_or_only_half_there_is_not_found(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    with pytest.raises(NotFound):
        await blobs.get("0" * 32)
    blob_id = await blobs.put(b"x", "image/png")
    (tmp_path / f"{blob_id}.json").unlink()
    with pytest.raises(NotFound, match="upload it first with POST /blobs"):
        await blobs.get(blob_id)


async def test_a_folder_that_takes_no_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be kept in"):
        await FolderBlobs(tmp_path / "file" / "blobs").put(b"x", "image/png")


# -- settings, read live ----------------------------------------------------------------------------


async def test_live_settings_follow_the_database_and_outlive_its_absence_and_its_mistakes() -> None:
    values = MemoryOverrides()
    away = False

    async def read() -> Mapping[str, Any]:
        if away:
            raise StoreUnavailable("away")
        return await values.all()

    settings = Settings()
    live = LiveSettings(settings, settings.over, read)
    await values.set("default_max_tokens", 7, by="test")
    await live.start()
    assert live.current.default_max_tokens == 7
    away = True
    await live._read()
    assert live.current.default_max_tokens == 7
    away = False
    await values.set("default_max_tokens", "many", by="test")
    await live._read()
    assert live.current.default_max_tokens == 7
    await values.set("default_max_tokens", None, by="test")
    await live._read()
    assert live.current.default_max_tokens == 4096
    await live.close()


# -- time and health --------------------------------------------------------------------------------


async def test_ids_are_uuids_of_version_seven_that_sort_by_time() -> None:
    clock = SystemClock()
    before = datetime.now(UTC).timestamp()
    ids = []
    for _ in range(3):
        ids.append(clock.new_id())
        await asyncio.sleep(0.002)
    assert ids == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert before - 0.002 <= (ids[0].int >> 80) / 1000 <= datetime.now(UTC).timestamp()
    assert len({clock.new_id() for _ in range(10_000)}) == 10_000


class Queues:
    def __init__(self, trouble: str | None) -> None:
        self._trouble = trouble

    def queues(self) -> Mapping[str, Mapping[str, Any]]:
        return {"ocr": {"workers": 0, "length": 3, "pids": []}, "llm": {"workers": 2, "length": 0, "pids": [1, 2]}}

    def trouble(self) -> str | None:
        return self._trouble


async def test_health_tells_each_thing_apart(tmp_path: Path) -> None:
    async def well() -> None:
        return None

    async def ill() -> None:
        raise StoreUnavailable("the database cannot answer (refused)")

    checks = await LiveHealth(well, Queues(None), tmp_path / "not" / "made").checks()
    assert (checks["database"]["ok"], checks["redis"]["ok"], checks["disk"]["free_bytes"] > 0) == (True, True, True)
    assert (checks["queue:ocr"]["ok"], checks["queue:ocr"]["required"]) == (False, False)
    assert checks["queue:ocr"]["detail"] == "0 workers, 3 waiting"
    checks = await LiveHealth(ill, Queues("Redis cannot be read"), tmp_path).checks()
    assert checks["database"] == {"ok": False, "required": True, "detail": "the database cannot answer (refused)"}
    assert checks["redis"]["detail"] == "Redis cannot be read"
