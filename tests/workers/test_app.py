"""The tables of the worker app: no queue without a process, no scheduled task without a body."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.house.programs import memory_shares, queue_memory_bytes, worker_programs
from registry.load import load
from registry.machine import limit_bytes
from registry.weights import need
from workers.__main__ import _parser, main
from workers.app import CELERY, FLEETS, INFER_TASK, ROOMS, WorkerSettings, create_app
from workers.modality import Modality
from workers.process import models_bytes
from workers.runtime import memory
from workers.runtime.device import chosen_device, cuda_devices
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--memory-mib", "lots"], "'lots' is neither `auto` nor a number of MiB above 0"),
        (["--memory-mib", "0"], "'0' is neither `auto` nor a number of MiB above 0"),
        (["--memory-share", "1.5"], "'1.5' is no share between 0 and 1, such as 0.25"),
        (["--memory-share", "half"], "'half' is no share between 0 and 1, such as 0.25"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused_with_its_value(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--queues", "embeddings", "--redis-url", "redis://127.0.0.1:1/0", *arguments])
    assert error.value.code == 2
    assert words in capsys.readouterr().err


def test_the_shares_of_one_machines_workers_overlap_and_leave_the_rest_its_quarter() -> None:
    shares = memory_shares(FLEETS)
    assert sum(shares.values()) == pytest.approx(1.5)
    assert max(shares.values()) <= 0.75
    assert memory_shares((("llm", ("llm",)),)) == {"llm": 0.75}
    bge_m3 = need(load().get("bge-m3"), load().get("bge-m3").variants[0])
    assert bge_m3 is not None
    assert 3_400_000_000 < bge_m3.bytes < shares["embeddings"] * 24_000_000_000 - 300_000_000  # the process itself
    assert shares["upkeep"] == 0.0  # it runs no model
    assert max(shares, key=shares.__getitem__) == "llm"
    commands = {spec.name: spec.command for spec in worker_programs(FLEETS, "redis://127.0.0.1:1/0", {})}
    assert commands["worker-llm"][-2:] == ("--memory-share", f"{shares['llm']:.3f}")
    assert "--memory-share" not in commands["worker-upkeep"]


def test_a_share_that_is_set_is_that_of_every_worker_and_known_per_queue() -> None:
    assert memory_shares(FLEETS, 0.5) == {name: 0.0 if name == "upkeep" else 0.5 for name, _ in FLEETS}
    found = queue_memory_bytes(0.5)
    assert set(found) == set(ROOMS)
    assert set(found.values()) == {int(limit_bytes() * 0.5) - 100_000_000}  # the process itself
    assert queue_memory_bytes()["llm"] == int(limit_bytes() * memory_shares(FLEETS)["llm"]) - 100_000_000


def test_what_the_process_itself_holds_is_not_left_for_models() -> None:
    resident = memory.resident_bytes()
    assert 0 < resident - 30 * 2**20 <= 10**11 - models_bytes(settings(memory_bytes=10**11)) <= resident + 30 * 2**20
    assert models_bytes(settings(memory_bytes=1)) == 0


def test_a_worker_without_the_flag_takes_the_share_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENNYROUTE_WORKER_MEMORY_SHARE", "0.25")
    assert _parser().parse_args(["--queues", "llm"]).memory_share == 0.25
    assert _parser().parse_args(["--queues", "llm", "--memory-share", "0.5"]).memory_share == 0.5
    monkeypatch.setenv("PENNYROUTE_WORKER_MEMORY_SHARE", "")
    assert _parser().parse_args(["--queues", "llm"]).memory_share == 0.75


def test_the_cpu_is_taken_where_no_driver_answers_and_a_word_for_no_device_is_refused() -> None:
    assert cuda_devices("libno-such-driver.so") == 0
    assert cuda_devices("libc.so.6") == 0  # a library, but not that one
    assert chosen_device("cpu") == "cpu"
    assert chosen_device("cuda") == "cuda"
    with pytest.raises(ValueError, match="no device 'tpu'; it is one of auto, cpu, cuda"):
        chosen_device("tpu")
