"""The runtime on a real modality of its own: loading once, one result or error per item, failures."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from registry.engines import Engine, lacking
from registry.load import Registry, load
from registry.schema import Billing, Card, Task, Tier, Variant
from tests.workers import counting
from workers.modality import Batch, Code, Item, Machine, Result, Room, WorkerError
from workers.runtime.running import Limits, Runtime


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
    names = ("first", "second", "third", "damaged", "exits", "cudaless")
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
    assert set(timings) == {"queue_wait", "load", "inference"}


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


def test_a_failed_load_says_why_and_when_it_is_tried_again_and_is_not_repeated_at_once(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    broken = runtime(registry, tmp_path)
    sentence = "loading damaged failed: OSError: unexpected end of file"
    with pytest.raises(WorkerError) as error:
        broken.run("damaged", batch("x"))
    assert (error.value.code, error.value.message) == (Code.MODEL_LOAD_FAILED, sentence)
    with pytest.raises(WorkerError, match=r"end of file; the next try is in [12] s \(failed 1 times\)$") as error:
        broken.run("damaged", batch("x"))
    assert error.value.code is Code.MODEL_LOAD_FAILED
    assert seen.loads == ["damaged"]
    told_to_router = broken.announce(["sentiment"])["damaged"]["missing"]
    assert told_to_router.startswith(sentence + "; the next try is in ")
    time.sleep(2.05)
    state = broken.announce(["sentiment"])["damaged"]
    assert (state["missing"], state["failed"]) == (None, f"{sentence}; the next request tries again (failed 1 times)")


def test_a_batch_that_comes_too_late_or_that_nobody_waits_for_is_not_run(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    with pytest.raises(WorkerError, match="the deadline passed") as error:
        runtime(registry, tmp_path).run("first", batch("a", "b", deadline=time.monotonic() - 1))
    assert error.value.code is Code.TIMEOUT
    left = Batch(task=Task.SENTIMENT, items=(Item(texts=("a",)),), stopped=lambda _: True)
    with pytest.raises(WorkerError, match="nobody waits for this batch any more") as error:
        runtime(registry, tmp_path).run("first", left)
    assert error.value.code is Code.TIMEOUT
    assert seen.batches == []


@pytest.mark.parametrize("text", ["explode", "exit", "recurse", "interrupt", "long"])
def test_whatever_an_inference_raises_the_next_request_works(
    registry: Registry, tmp_path: Path, seen: counting.Ledger, text: str
) -> None:
    shared = runtime(registry, tmp_path)
    alone, _ = shared.run("first", batch(text))
    assert told(alone) == ["inference_failed"]
    assert len(str(alone[0])) <= 500
    among, _ = shared.run("first", batch("one", text, "four"))
    assert told(among) == [[3], "inference_failed", [4]]
    assert seen.loads == ["first"]


def test_a_library_that_ends_the_process_while_it_loads_ends_nothing(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    shared = runtime(registry, tmp_path)
    with pytest.raises(WorkerError, match="loading exits failed: SystemExit") as error:
        shared.run("exits", batch("x"))
    assert error.value.code is Code.MODEL_LOAD_FAILED
    assert told(shared.run("first", batch("x"))[0]) == [[1]]


def test_a_batch_that_finds_no_memory_is_halved_until_it_does(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    seen.most_items = 3
    results, _ = runtime(registry, tmp_path).run("first", batch(*"abcdefgh"))
    assert told(results) == [[1]] * 8
    assert seen.batches == [8, 4, 2, 2, 4, 2, 2]


def test_an_item_alone_that_finds_no_memory_is_told_so_after_others_made_room(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    shared = runtime(registry, tmp_path)
    shared.run("second", batch("x"))
    shared.run("first", batch("x"))
    seen.most_items, seen.batches = 0, []
    results, _ = shared.run("first", batch("x"))
    assert told(results) == ["memory_exceeded"]
    assert (seen.batches, seen.closed) == ([1, 1], ["second"])


def test_a_load_that_finds_no_memory_is_tried_again_alone(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    shared = runtime(registry, tmp_path)
    shared.run("first", batch("x"))
    seen.failing_loads = 1
    assert told(shared.run("second", batch("x"))[0]) == [[1]]
    assert (seen.loads, seen.closed) == (["first", "second", "second"], ["first"])


def test_a_failed_generation_is_tried_once_more_more_safely(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    results, _ = runtime(registry, tmp_path).run("first", batch("one", "wild"))
    assert told(results) == [[3], [4]]
    assert seen.batches == [2, 1]


def test_what_a_caller_has_read_in_part_is_not_said_a_second_time(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    said: list[tuple[int, str]] = []
    items = tuple(Item(texts=(text,)) for text in ("say and fail", "say", "explode", "one"))
    heard = Batch(task=Task.SENTIMENT, items=items, say=lambda number, text: said.append((number, text)))
    results, _ = runtime(registry, tmp_path).run("first", heard)
    assert told(results) == ["inference_failed", "inference_failed", "inference_failed", [3]]
    assert said == [(0, "once upon"), (1, "word ")]


def test_a_gpu_that_a_library_cannot_use_is_left_for_the_cpu(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    room = Room(module="tests.workers.counting")
    gpu = Runtime(registry, {"sentiment": room}, Machine(models_dir=tmp_path, device="cuda"))
    assert told(gpu.run("cudaless", batch("x"))[0]) == [[1]]
    assert told(gpu.run("first", batch("x"))[0]) == [[1]]
    assert seen.devices == ["cuda", "cpu", "cuda"]
    states = gpu.announce(["sentiment"])
    assert (states["cudaless"]["device"], states["first"]["device"]) == ("cpu", "cuda")


def test_an_inference_that_fails_on_the_gpu_runs_again_on_the_cpu_and_a_bad_input_does_not(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    room = Room(module="tests.workers.counting")
    gpu = Runtime(registry, {"sentiment": room}, Machine(models_dir=tmp_path, device="cuda"))
    assert told(gpu.run("first", batch("explode"))[0]) == ["inference_failed"]
    assert told(gpu.run("first", batch("on the GPU fail"))[0]) == [[15]]
    assert seen.devices == ["cuda", "cpu"]
    assert gpu.announce(["sentiment"])["first"]["device"] == "cpu"


def test_models_are_loaded_ahead_and_what_cannot_be_is_left_to_its_first_request(
    registry: Registry, tmp_path: Path, seen: counting.Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    shared = runtime(registry, tmp_path)
    shared.prewarm(["first", "frist", "damaged", "second"])
    assert seen.loads == ["first", "damaged", "second"]
    assert "frist is not loaded ahead: No model 'frist' in the registry" in caplog.text
    shared.run("first", batch("x"))
    assert seen.loads == ["first", "damaged", "second"]


def test_a_model_that_nobody_asks_for_is_closed_and_unloaded(
    registry: Registry, tmp_path: Path, seen: counting.Ledger
) -> None:
    patient = runtime(registry, tmp_path, Limits(idle_s=3600.0))
    patient.run("first", batch("x"))
    patient.sweep()
    assert seen.closed == []
    hasty = runtime(registry, tmp_path, Limits(idle_s=0.0))
    hasty.run("second", batch("x"))
    hasty.sweep()
    assert seen.closed == ["second"]
    assert not hasty.announce(["sentiment"])["second"]["loaded"]


def test_a_loaded_model_whose_files_were_removed_is_missing_at_once_and_unloaded_when_there_is_no_work(
    tmp_path: Path, seen: counting.Ledger
) -> None:
    variant = Variant(name="Q8_0", format="gguf", engine=Engine.BUILTIN)
    cards = load().with_cards([card("kept", provider="elsewhere", variants=(variant,)), card("first")])
    (tmp_path / "kept").mkdir()
    file = tmp_path / "kept" / "kept-Q8_0.gguf"
    file.write_bytes(b"weights")
    shared = runtime(cards, tmp_path)
    shared.run("kept", batch("x"))
    shared.run("first", batch("x"))
    assert shared.announce(["sentiment"])["kept"]["missing"] is None
    busy = threading.Thread(target=shared.run, args=("first", batch("hang")))
    busy.start()
    while seen.concurrent == 0:
        time.sleep(0.005)
    file.unlink()
    state = shared.announce(["sentiment"])["kept"]
    assert (state["missing"].startswith("kept has no weights here; "), state["loaded"]) == (True, True)
    seen.go_on.set()
    busy.join()
    state = shared.announce(["sentiment"])["kept"]
    assert (state["missing"].startswith("kept has no weights here; "), state["loaded"]) == (True, False)
    assert seen.closed == ["kept"]
    with pytest.raises(WorkerError, match="kept has no weights here; ") as error:
        shared.run("kept", batch("x"))
    assert error.value.code is Code.MODEL_NOT_FOUND


def test_what_was_measured_is_announced_per_model(registry: Registry, tmp_path: Path, seen: counting.Ledger) -> None:
    shared = runtime(registry, tmp_path)
    shared.run("first", batch("one", "refuse"), waited_ms=200.0)
    shared.run("first", batch("one", "explode", "refuse", "four"), waited_ms=100.0)
    state = shared.announce(["sentiment"])["first"]
    assert state["loads"] == 1
    assert state["batch_items"] == 3.0
    assert state["errors"] == {"inference_failed": 1, "invalid_input": 2}
    assert state["queue_wait_ms"] >= 150  # and the wait for the turn
    assert state["tokens_per_s"] > 0


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
        "failed": None,
        "loaded": False,
        "device": None,
        "resident_bytes": 0,
        "context_tokens": None,
        "loads": 0,
        "load_ms": None,
        "inference_ms": None,
        "queue_wait_ms": None,
        "batch_items": None,
        "tokens_per_s": None,
        "errors": {},
    }
    assert states["foreign"]["missing"] == "foreign needs the package absent==1; run `pip install absent==1`."
    assert states["donut"]["missing"] == "document has no worker on this installation yet"
    assert "minilm-l6-builtin" not in states


def test_the_library_that_is_lacking_is_named_before_the_weights(tmp_path: Path) -> None:
    variant = Variant(name="fp32", format="safetensors", engine=Engine.PADDLEOCR)
    needy = load().with_cards([card("needy", provider="elsewhere", hub_id="some/one", variants=(variant,))])
    told_to_router = runtime(needy, tmp_path).announce(["sentiment"])["needy"]["missing"]
    if sentence := lacking(Engine.PADDLEOCR):
        assert told_to_router == sentence
    else:
        assert told_to_router.startswith("needy has no weights here")


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
