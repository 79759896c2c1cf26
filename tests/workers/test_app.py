"""The tables of the worker app: no queue without a process, no scheduled task without a body."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.load import load
from workers.__main__ import main
from workers.app import CELERY, FLEETS, INFER_TASK, ROOMS, WorkerSettings, create_app
from workers.modality import Modality
from workers.schedule import BEAT
from workers.upkeep import upkeep_tasks


def settings(**changes: int) -> WorkerSettings:
    return WorkerSettings(redis_url="redis://127.0.0.1:1/0", data_dir=Path("/nowhere"), **changes)


def nothing(*_: object) -> None:
    """A task's body."""


def test_every_room_is_served_by_exactly_one_fleet() -> None:
    served = [queue for _, queues in FLEETS for queue in queues]
    assert len(served) == len(set(served))
    assert set(ROOMS) <= set(served)
    assert {"upkeep", "jobs"} <= set(served)


def test_every_room_opens_a_modality_with_load_and_infer() -> None:
    for room in ROOMS.values():
        modality: Modality = room.open()
        assert callable(modality.load)
        assert callable(modality.infer)


def test_every_room_has_models_in_the_registry() -> None:
    queues = {card.queue for card in load().cards.values()}
    assert set(ROOMS) <= queues


def test_every_beat_entry_has_a_task_and_goes_to_upkeep() -> None:
    assert {entry["task"] for entry in BEAT.values()} == set(upkeep_tasks())
    assert {entry["options"]["queue"] for entry in BEAT.values()} == {"upkeep"}


def test_a_lost_message_comes_back_and_no_result_backend_is_used() -> None:
    app = create_app(settings(), {INFER_TASK: nothing})
    assert app.conf.broker_transport_options == {
        "visibility_timeout": 60,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }
    assert (app.conf.task_acks_late, app.conf.task_reject_on_worker_lost) == (True, True)
    assert (app.conf.worker_prefetch_multiplier, app.conf.result_backend) == (1, None)
    assert CELERY["task_ignore_result"] is True


def test_two_apps_share_no_task() -> None:
    one = create_app(settings(), {"pennyroute.one": nothing})
    other = create_app(settings(), {"pennyroute.other": nothing})
    assert "pennyroute.one" in one.tasks
    assert "pennyroute.one" not in other.tasks


def test_a_worker_without_redis_says_which_setting_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert main(["--queues", "embeddings"]) == 2
    assert capsys.readouterr().err == "no Redis to take work from: set REDIS_URL or give --redis-url\n"
