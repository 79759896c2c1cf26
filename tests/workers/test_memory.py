"""Where memory limits are read from, and what a process with a budget really keeps, refuses and gives back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from registry.load import Registry, load
from registry.schema import Variant
from tests.workers import counting
from tests.workers.test_runtime import batch, card, told
from workers.modality import Code, Machine, Room, WorkerError
from workers.runtime import memory
from workers.runtime.running import Limits, Runtime

MIB = 1 << 20
MEMINFO = "MemTotal:       8000000 kB\nMemFree:         100000 kB\nMemAvailable:   3000000 kB\n"


def machine(folder: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup with these contents."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    written = {"proc/meminfo": MEMINFO, "proc/self/cgroup": cgroup, **{f"cgroup/{k}": v for k, v in files.items()}}
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return proc, cgroups


def test_without_a_limit_it_is_the_machine_that_limits(tmp_path: Path) -> None:
    proc, cgroups = machine(tmp_path, "0::/user.slice\n", {"user.slice/memory.max": "max\n"})
    assert memory.limit_bytes(proc, cgroups) == 8_000_000 * 1024
    assert memory.available_bytes(proc, cgroups) == 3_000_000 * 1024


def test_the_tightest_group_above_a_process_limits_it(tmp_path: Path) -> None:
    files = {
        "memory.max": "4000000000\n",
        "pod/memory.max": "2000000000\n",
        "pod/memory.current": "1500000000\n",
        "pod/memory.stat": "anon 900000000\nfile 600000000\ninactive_file 400000000\n",
        "pod/worker/memory.max": "max\n",
    }
    proc, cgroups = machine(tmp_path, "0::/pod/worker\n", files)
    assert memory.limit_bytes(proc, cgroups) == 2_000_000_000
    assert memory.available_bytes(proc, cgroups) == 900_000_000  # file pages that nobody uses can be dropped


def test_the_first_version_of_cgroups_is_read_too(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/docker/1/memory.limit_in_bytes": "1000000000\n",
        "memory/docker/1/memory.usage_in_bytes": "800000000\n",
        "memory/docker/1/memory.stat": "inactive_file 1\ntotal_inactive_file 300000000\n",
    }
    proc, cgroups = machine(tmp_path, "4:memory:/docker/1\n1:cpu:/docker/1\n0::/\n", files)
    assert memory.limit_bytes(proc, cgroups) == 1_000_000_000
    assert memory.available_bytes(proc, cgroups) == 500_000_000


def test_in_a_container_the_path_is_the_hosts_and_the_groups_top_is_its_own(tmp_path: Path) -> None:
    files = {"memory.max": "3000000000\n", "memory.current": "1000000000\n"}
    proc, cgroups = machine(tmp_path, "0::/kubepods/pod1/abc\n", files)
    assert memory.limit_bytes(proc, cgroups) == 3_000_000_000


def test_a_path_that_leads_out_of_the_groups_reads_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1\n")
    proc, cgroups = machine(tmp_path, "0::/../\n", {"memory.max": "3000000000\n"})
    assert memory.limit_bytes(proc, cgroups) == 3_000_000_000


def test_a_system_without_proc_is_asked_for_its_pages_and_says_nothing_of_what_is_free(tmp_path: Path) -> None:
    assert memory.limit_bytes(tmp_path, tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory.available_bytes(tmp_path, tmp_path) is None


def test_the_peak_is_that_since_it_was_forgotten() -> None:
    memory.forget_peak()
    before = memory.resident_bytes()
    block = bytearray(b"\1" * (80 * MIB))
    del block
    assert memory.peak_bytes() >= before + 70 * MIB
    memory.forget_peak()
    assert memory.peak_bytes() < before + 70 * MIB


# What a process keeps is looked at in fresh ones: this one gives the memory of earlier tests back when it likes.


@pytest.fixture
def fresh() -> Iterator[Callable[..., Any]]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=120)


def registry(*names: str, **facts: Any) -> Registry:
    return load().with_cards([card(name, **facts) for name in names])


def held(cards: Registry, folder: Path, room_mib: int, **limits: Any) -> Runtime:
    """May hold `room_mib` more than this process does now. Not limited by what the machine has."""
    memory.give_back()
    allowed = Limits(memory_bytes=memory.resident_bytes() + room_mib * MIB, **limits)
    rooms = {"sentiment": Room(module="tests.workers.counting")}
    return Runtime(cards, rooms, Machine(models_dir=folder), allowed, available=lambda: None)


def refused(runtime: Runtime, model: str) -> tuple[str, str]:
    try:
        runtime.run(model, batch("x"))
    except WorkerError as error:
        return error.code.value, error.message
    return "", ""


def in_mib(counts: list[int]) -> list[int]:
    return [round(count / MIB) for count in counts]


def eight_models_with_room_for_two(folder: Path) -> tuple[list[int], list[str], list[str]]:
    names = [f"m{number}-64" for number in range(8)]
    runtime = held(registry(*names), folder, 150, models=99)
    before, grown = memory.resident_bytes(), []
    for name in names:
        runtime.run(name, batch("x"))
        grown.append(memory.resident_bytes() - before)
    loaded = [name for name, state in runtime.announce(["sentiment"]).items() if state["loaded"]]
    runtime.close()
    return in_mib([*grown, memory.resident_bytes() - before]), loaded, counting.seen.closed


def test_models_beyond_the_budget_push_out_those_used_longest_ago_and_their_memory_returns(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    grown, loaded, closed = fresh(eight_models_with_room_for_two, tmp_path)
    assert loaded == ["m6-64", "m7-64"]
    assert closed == [f"m{number}-64" for number in range(8)]
    assert 60 <= grown[0] <= 72
    assert all(124 <= each <= 140 for each in grown[1:8])
    assert grown[8] <= 8  # all given back


def a_model_known_to_be_too_large(folder: Path) -> tuple[str, str, list[str], list[str]]:
    sizes = {"big": 500_000_000, "small": 20_000_000, "middle": 40_000_000}
    variants = {name: (Variant(name="whole", format="package", memory_bytes=size),) for name, size in sizes.items()}
    cards = registry("first-8").with_cards([card(name, variants=of) for name, of in variants.items()])
    runtime = held(cards, folder, 100)
    runtime.run("first-8", batch("x"))
    return *refused(runtime, "big"), counting.seen.loads, counting.seen.closed


def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded_with_a_smaller_one_to_try(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    code, message, loads, closed = fresh(a_model_known_to_be_too_large, tmp_path)
    assert code == Code.MEMORY_EXCEEDED
    assert re.match(
        r"big needs 500 MB of memory, this worker has (9|10)\d MB available; "
        r"try middle, or give the worker more: PENNYROUTE_WORKER_MEMORY_SHARE for those of `pennyroute up`, --",
        message,
    )
    assert (loads, closed) == (["first-8"], [])


def a_model_that_turns_out_too_large(folder: Path) -> tuple[list[tuple[str, str]], list[str], int]:
    runtime = held(registry("surprise-64"), folder, 16)
    before = memory.resident_bytes()
    first = refused(runtime, "surprise-64")
    return (
        [first, refused(runtime, "surprise-64")],
        counting.seen.loads,
        round((memory.resident_bytes() - before) / MIB),
    )


def test_a_model_whose_size_nobody_knew_is_loaded_once_measured_and_dropped(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    (first, second), loads, grown = fresh(a_model_that_turns_out_too_large, tmp_path)
    assert first[0] == second[0] == Code.MEMORY_EXCEEDED
    assert re.match(r"surprise-64 needs (6|7)\d MB of memory, this worker has 1\d MB available; ", first[1])
    assert loads == ["surprise-64"]
    assert grown <= 8


def a_machine_without_memory(folder: Path) -> tuple[str, str]:
    rooms = {"sentiment": Room(module="tests.workers.counting")}
    limits = Limits(memory_bytes=1 << 40)
    cards = registry("big", memory_bytes=500_000_000)
    return refused(Runtime(cards, rooms, Machine(models_dir=folder), limits, available=lambda: 300_000_000), "big")


def test_what_the_worker_may_use_but_the_machine_has_not_is_refused_too(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    code, message = fresh(a_machine_without_memory, tmp_path)
    assert code == Code.MEMORY_EXCEEDED
    assert message.startswith("big needs 500 MB of memory, this machine has 300 MB available; ")


def batches_beyond_the_budget(folder: Path) -> tuple[list[int], list[Any], list[str]]:
    runtime = held(registry("first", "other-32"), folder, 100)
    runtime.run("other-32", batch("x"))
    counting.seen.batches.clear()
    answers = []
    for _ in range(4):
        answers += told(runtime.run("first", batch("take 90", "one", "two", "three"))[0])
    return counting.seen.batches, answers, counting.seen.closed


def test_a_model_whose_batches_go_beyond_the_budget_gets_half_ones_and_then_room(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    batches, answers, closed = fresh(batches_beyond_the_budget, tmp_path)
    assert answers == [[7], [3], [3], [5]] * 4
    assert batches == [4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert closed == ["other-32"]


def an_idle_model(folder: Path) -> tuple[int, int]:
    runtime = held(registry("first-64"), folder, 100, idle_s=0.0)
    before = memory.resident_bytes()
    runtime.run("first-64", batch("x"))
    full = memory.resident_bytes() - before
    runtime.sweep()
    return round(full / MIB), round((memory.resident_bytes() - before) / MIB)


def test_the_memory_of_an_idle_model_really_returns(tmp_path: Path, fresh: Callable[..., Any]) -> None:
    full, empty = fresh(an_idle_model, tmp_path)
    assert full >= 62
    assert empty <= 8


def a_mapped_model(folder: Path) -> list[int]:
    runtime = held(registry("mapped"), folder, 100, models=9)
    runtime.run("mapped", batch("x"))
    state = runtime.announce(["sentiment"])["mapped"]
    return [round(state["resident_bytes"] / MIB)]


def test_pages_of_a_mapped_file_are_counted_when_the_first_inference_reads_them(
    tmp_path: Path, fresh: Callable[..., Any]
) -> None:
    (tmp_path / "mapped.bin").write_bytes(b"\1" * (48 * MIB))
    assert 46 <= fresh(a_mapped_model, tmp_path)[0] <= 56
