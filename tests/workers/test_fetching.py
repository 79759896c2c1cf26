"""Weights brought beside the requests: once, with word on the way, and again later after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.engines import Engine
from registry.load import load
from registry.schema import Card, Variant
from registry.weights import HubUnreachable, Moved, Placed, TooBig
from tests.workers.test_runtime import batch, card
from workers.modality import Code, Machine, Room, WorkerError
from workers.runtime.fetching import Fetching
from workers.runtime.running import Runtime

MODEL = card("far", hub_id="someone/far", variants=(Variant(name="fp32", format="safetensors"),))
HERE = Placed(folder=Path("/nowhere"), variant=None)
Report = Callable[[Moved], None]


def test_one_download_serves_all_who_wait() -> None:
    begun: list[str] = []

    def bring(wanted: Card, report: Report) -> Placed:
        begun.append(wanted.id)
        time.sleep(0.2)
        return HERE

    fetching = Fetching(bring)
    threads = [threading.Thread(target=fetching.waited_for, args=(MODEL, 30.0)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert begun == ["far"]
    assert fetching.told(MODEL) is None


def test_who_cannot_wait_is_told_how_far_it_is() -> None:
    go_on = threading.Event()

    def bring(wanted: Card, report: Report) -> Placed:
        report(Moved(file="model.safetensors", bytes=35_000_000, total_bytes=91_000_000))
        go_on.wait(30)
        return HERE

    fetching = Fetching(bring)
    with pytest.raises(WorkerError) as error:
        fetching.waited_for(MODEL, 0.2)
    assert error.value.code is Code.MODEL_NOT_FOUND
    assert error.value.message == "far is being downloaded (35 of 91 MB are here); ask again later"
    assert fetching.told(MODEL) == error.value.message
    go_on.set()
    fetching.waited_for(MODEL, 30.0)
    assert fetching.told(MODEL) is None


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (
            HubUnreachable("the hub does not answer"),
            Code.MODEL_NOT_FOUND,
            "far cannot be downloaded: the hub does not answer; the next try is in 2 s (failed 1 times)",
        ),
        (
            TooBig("far needs 9 MB of memory", required_bytes=9, available_bytes=1),
            Code.MEMORY_EXCEEDED,
            "far needs 9 MB of memory; the next try is in 2 s (failed 1 times)",
        ),
    ],
)
def test_a_download_that_fails_says_why_and_is_not_repeated_at_once(
    failure: Exception, code: Code, message: str
) -> None:
    begun: list[str] = []

    def bring(wanted: Card, report: Report) -> Placed:
        begun.append(wanted.id)
        raise failure

    now = [100.0]
    fetching = Fetching(bring, now=lambda: now[0])
    assert fetching.last_failure(MODEL) is None
    for _ in range(3):
        with pytest.raises(WorkerError) as error:
            fetching.waited_for(MODEL, 30.0)
        assert (error.value.code, error.value.message) == (code, message)
    assert begun == ["far"]
    now[0] = 102.0
    assert fetching.told(MODEL) is None  # a request may try again
    assert fetching.last_failure(MODEL) == message.replace("the next try is in 2 s", "the next request tries again")


def test_an_absent_model_whose_download_failed_is_announced_as_such_between_two_tries(tmp_path: Path) -> None:
    now = [100.0]

    def bring(wanted: Card, report: Report) -> Placed:
        raise HubUnreachable("the hub does not answer")

    room = {"sentiment": Room(module="tests.workers.counting")}
    variant = Variant(name="Q8_0", format="gguf", engine=Engine.BUILTIN)
    model = card("far", provider="elsewhere", hub_id="someone/far", variants=(variant,))
    shared = Runtime(
        load().with_cards([model]), room, Machine(models_dir=tmp_path), fetching=Fetching(bring, now=lambda: now[0])
    )
    state = shared.announce(["sentiment"])["far"]
    assert (state["missing"], state["failed"]) == (None, None)
    with pytest.raises(WorkerError, match="far cannot be downloaded: the hub does not answer"):
        shared.run("far", batch("x"))
    state = shared.announce(["sentiment"])["far"]
    assert state["missing"] == state["failed"]
    now[0] = 102.0
    state = shared.announce(["sentiment"])["far"]
    told = "far cannot be downloaded: the hub does not answer; the next request tries again (failed 1 times)"
    assert (state["missing"], state["failed"]) == (None, told)
