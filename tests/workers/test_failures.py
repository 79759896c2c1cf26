"""When a model that failed to load is tried again: later each time, at once with other files."""

from __future__ import annotations

import pytest

from workers.modality import Code, WorkerError
from workers.runtime.failures import Failures, pause_s

ERROR = WorkerError(Code.MODEL_LOAD_FAILED, "the file ends too soon")


@pytest.mark.parametrize(("times", "seconds"), [(1, 2.0), (2, 6.0), (3, 18.0), (6, 486.0), (7, 600.0), (10_000, 600.0)])
def test_the_pause_grows_and_has_an_end(times: int, seconds: float) -> None:
    assert pause_s(times) == seconds


def test_a_failure_stands_for_its_pause_and_the_next_one_for_longer() -> None:
    now = [100.0]
    failures = Failures(lambda: now[0])
    failures.failed("m", ERROR)
    now[0] = 101.5
    standing = failures.standing("m")
    assert standing is not None
    assert (standing.code, standing.message) == (
        Code.MODEL_LOAD_FAILED,
        "the file ends too soon; the next try is in 1 s (failed 1 times)",
    )
    now[0] = 102.0
    assert failures.standing("m") is None
    failures.failed("m", ERROR)
    now[0] = 107.9
    assert failures.standing("m") is not None
    failures.loaded("m")
    assert failures.standing("m") is None


def test_other_files_are_tried_at_once_and_their_failure_is_the_first_again() -> None:
    now = [100.0]
    failures = Failures(lambda: now[0])
    failures.failed("m", ERROR, weights="old")
    failures.failed("m", ERROR, weights="old")
    assert failures.standing("m", "new") is None
    failures.failed("m", ERROR, weights="new")
    now[0] = 102.0
    assert failures.standing("m", "new") is None


def test_the_last_failure_is_told_after_its_pause_too_until_a_load_succeeds_or_the_files_are_others() -> None:
    now = [100.0]
    failures = Failures(lambda: now[0])
    assert failures.last("m") is None
    failures.failed("m", ERROR, weights="old")
    assert failures.last("m", "old") == "the file ends too soon; the next try is in 2 s (failed 1 times)"
    now[0] = 9_000.0
    assert failures.last("m", "old") == "the file ends too soon; the next request tries again (failed 1 times)"
    assert failures.last("m", "new") is None
    failures.loaded("m")
    assert failures.last("m", "old") is None


def test_what_is_kept_of_an_error_holds_no_half_loaded_model() -> None:
    failures = Failures(lambda: 0.0)
    try:
        raise ERROR
    except WorkerError as error:
        failures.failed("m", error)
    standing = failures.standing("m")
    assert standing is not None
    assert standing.__traceback__ is None
