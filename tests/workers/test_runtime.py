"""The runtime on a real modality of its own: loading once, bounds, one result or error per item."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from registry.load import Registry, load
from registry.schema import Billing, Card, Task, Tier
from tests.workers import counting
from workers.modality import Batch, Code, Item, Machine, Result, Room, WorkerError
from workers.runtime import Limits, Runtime


def card(name: str, **facts: Any) -> Card:
    """A sentiment card without weights to look for."""
    return Card(
        id=name,
        provider=facts.pop("provider", "builtin"),
        name=name,
        tasks=(Task.SENTIMENT,),
        tier=Tier.BUILTIN,
        queue="sentiment",
        billing=Billing.NONE,
        **facts,
    )


@pytest.fixture
def seen() -> counting.Ledger:
    counting.seen = counting.Ledger()
    return counting.seen


@pytest.fixture
def registry() -> Registry:
    names = ("first", "second", "third", "damaged", "huge")
    return load().with_cards([*map(card, names), card("foreign", provider="elsewhere", package="absent==1")])


def runtime(registry: Registry, tmp_path: Path, limits: Limits | None = None) -> Runtime:
    room = Room(module="tests.workers.counting")
    return Runtime(registry, {"sentiment": room}, Machine(models_dir=tmp_path), limits)


def batch(*texts: str, deadline: float = float("inf")) -> Batch:
    return Batch(task=Task.SENTIMENT, items=tuple(Item(texts=(text,)) for text in texts), deadline=deadline)


def told(results: list[Result | WorkerError]) -> list[Any]:
    return [each.code.value if isinstance(each, WorkerError) else each["results"] for each in results]


def test_each_item_gets_its_own_result(registry: Registry, tmp_path: Path, seen: counting.Ledger) -> None:
    results, timings = runtime(registry, tmp_path).run("first", batch("one", "three"))
    assert told(results) == [[3], [5]]
    assert set(timings) == {"load", "inference"}


def test_an_item_that_blows_up_spoils_no_other(registry: Registry, tmp_path: Path, seen: counting.Ledger) -> None:
    results, _ = runtime(registry, tmp_path).run("first", batch("one", "explode", "refuse", "four"))
    assert told(results) == [[3], "inference_failed", "invalid_input", [4]]
    assert str(results[1]) == "inference failed: RuntimeError: the library blew up"
    assert seen.batches == [4, 1, 1, 1, 1]


def test_a_modality_that_loses_a_result_is_asked_again_one_by_one(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    results, _ = runtime(registry, tmp_path).run("first", batch("lose one", "two"))
    assert told(results) == [[8], [3]]


def test_a_model_is_loaded_once_by_many_threads_and_runs_one_inference_at_a_time(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    shared = runtime(registry, tmp_path)
    threads = [threading.Thread(target=shared.run, args=("first", batch("x"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.loads == ["first"]
    assert seen.batches == [1] * 8
    assert seen.most_concurrent == 1


def test_the_model_used_longest_ago_makes_room(registry: Registry, tmp_path: Path, seen: counting.Ledger) -> None:
    small = runtime(registry, tmp_path, Limits(models=2))
    for name in ("first", "second", "first", "third", "first", "second"):
        small.run(name, batch("x"))
    assert seen.loads == ["first", "second", "third", "second"]
    loaded = {name for name, state in small.announce(["sentiment"]).items() if state["loaded"]}
    assert loaded == {"first", "second"}


def run_huge(models_dir: Path) -> tuple[str, str, bool]:
    """Code, message and whether the model was kept, of a load of 64 MiB where 16 are allowed."""
    small = runtime(load().with_cards([card("huge")]), models_dir, Limits(memory_bytes=16 << 20))
    try:
        small.run("huge", batch("x"))
    except WorkerError as error:
        return error.code.value, error.message, bool(small.announce(["sentiment"])["huge"]["loaded"])
    return "", "", True


def test_a_model_that_grows_beyond_the_bound_is_refused_and_not_kept(tmp_path: Path) -> None:
    # In a fresh process: this one gives the memory of earlier tests back at moments nobody chooses.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        code, message, kept = fresh.submit(run_huge, tmp_path).result(timeout=60)
    assert code == Code.MEMORY_EXCEEDED
    assert re.search(r"huge needs 6[0-9] MiB, this worker may keep 16", message)
    assert not kept


def test_a_failed_load_says_why_is_announced_and_is_not_repeated_at_once(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    broken = runtime(registry, tmp_path)
    sentence = "loading damaged failed: OSError: unexpected end of file"
    for _ in range(3):
        with pytest.raises(WorkerError) as error:
            broken.run("damaged", batch("x"))
        assert (error.value.code, error.value.message) == (Code.MODEL_LOAD_FAILED, sentence)
    assert seen.loads == ["damaged"]
    assert broken.announce(["sentiment"])["damaged"]["missing"] == sentence


def test_a_passed_deadline_fails_every_item_without_trying_each(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    late = batch("a", "b", deadline=time.monotonic() - 1)
    results, _ = runtime(registry, tmp_path).run("first", late)
    assert told(results) == ["timeout", "timeout"]
    assert seen.batches == [2]


@pytest.mark.parametrize(
    ("model", "task", "code", "message"),
    [
        ("first", Task.OCR, Code.INVALID_CONFIG, "first cannot do ocr; it can do sentiment"),
        (
            "donut",
            Task.DOCUMENT,
            Code.MODEL_NOT_FOUND,
            "document has no worker on this installation yet",
        ),
        (
            "foreign",
            Task.SENTIMENT,
            Code.MODEL_NOT_FOUND,
            "foreign needs the package absent==1; run `pip install absent==1`.",
        ),
        (
            "frist",
            Task.SENTIMENT,
            Code.MODEL_NOT_FOUND,
            "No model 'frist' in the registry; did you mean 'first'?",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(
    registry: Registry, tmp_path: Path, model: str, task: Task, code: Code, message: str
) -> None:
    with pytest.raises(WorkerError) as error:
        runtime(registry, tmp_path).run(model, Batch(task=task, items=(Item(texts=("x",)),)))
    assert (error.value.code, error.value.message) == (code, message)


def test_the_announcement_names_what_each_model_of_a_queue_lacks(registry: Registry, tmp_path: Path) -> None:
    states = runtime(registry, tmp_path).announce(["sentiment", "document"])
    assert states["first"] == {
        "missing": None,
        "loaded": False,
        "resident_bytes": 0,
        "load_ms": None,
        "inference_ms": None,
    }
    assert states["foreign"]["missing"] == "foreign needs the package absent==1; run `pip install absent==1`."
    assert states["donut"]["missing"] == "document has no worker on this installation yet"
    assert "minilm-l6-builtin" not in states


def test_what_loading_and_answering_took_is_announced_and_outlives_the_loaded_model(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    small = runtime(registry, tmp_path, Limits(models=1))
    _, timings = small.run("first", batch("one", "two", "three"))
    state = small.announce(["sentiment"])["first"]
    assert state["inference_ms"] == timings["inference"]  # of the message, not of one of its three items
    assert 20 <= state["load_ms"] <= timings["load"]  # loading sleeps for 20 ms
    small.run("second", batch("x"))
    dropped = small.announce(["sentiment"])["first"]
    assert (dropped["loaded"], dropped["load_ms"]) == (False, state["load_ms"])
    assert dropped["inference_ms"] == state["inference_ms"]


def test_a_model_that_fails_to_load_has_taken_no_time_to_load(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    broken = runtime(registry, tmp_path)
    with pytest.raises(WorkerError):
        broken.run("damaged", batch("x"))
    state = broken.announce(["sentiment"])["damaged"]
    assert (state["load_ms"], state["inference_ms"]) == (None, None)
