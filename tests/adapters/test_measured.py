"""What several workers of one model measured, put together for who looks at the service."""

from __future__ import annotations

from typing import Any

from orchestrator.adapters.redis.measured import measured


def state(**facts: Any) -> dict[str, Any]:
    return {"missing": None, "loaded": False, "resident_bytes": 0, "load_ms": None, "inference_ms": None} | facts


def test_sums_means_and_errors_are_over_those_that_measured() -> None:
    busy = state(
        loaded=True,
        device="cuda",
        resident_bytes=300,
        loads=2,
        load_ms=800.0,
        inference_ms=10.0,
        batch_items=8.0,
        context_tokens=4_096,
        errors={"timeout": 1, "invalid_input": 2},
    )
    other = state(
        loaded=True,
        device="cpu",
        resident_bytes=200,
        loads=1,
        load_ms=400.0,
        context_tokens=2_048,
        errors={"timeout": 3},
    )
    assert measured([busy, other, state(missing="its weights are not here")]) == {
        "missing": None,
        "failed": None,
        "loaded": 2,
        "on_gpu": 1,
        "resident_bytes": 500,
        "loads": 3,
        "load_ms": 600.0,
        "inference_ms": 10.0,
        "queue_wait_ms": None,
        "batch_items": 8.0,
        "tokens_per_s": None,
        "context_tokens": 2_048,
        "errors": {"invalid_input": 2, "timeout": 4},
    }


def test_a_failure_is_told_while_no_worker_that_could_run_the_model_did_without_one() -> None:
    failed = state(failed="loading failed; the next request tries again")
    assert measured([state(missing="no library"), failed])["failed"] == "loading failed; the next request tries again"
    assert measured([failed, state()])["failed"] is None
    assert measured([state(missing="no library")])["failed"] is None


def test_a_model_that_nobody_can_run_says_what_the_first_worker_said() -> None:
    states = [state(missing="no library"), state(missing="no weights")]
    assert measured(states)["missing"] == "no library"
