"""Which models lately failed to load, and when each is tried again: later after every failure; it loads nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from workers.modality import WorkerError

# The first pause is short: a file in the middle of being written, a moment without memory. Then a damaged file stays
# damaged, and reading it again for every request would take the machine from others.
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 2.0, 600.0, 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    error: WorkerError
    times: int
    at: float
    weights: object


class Failures:
    """Per model. `weights` is anything that is equal as long as the files are the same: new files are tried at once."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[str, _Failure] = {}

    def __contains__(self, model: str) -> bool:
        return model in self._failures

    def failed(self, model: str, error: WorkerError, weights: object = None) -> None:
        before = self._failures.get(model)
        times = before.times + 1 if before and before.weights == weights else 1
        kept = WorkerError(error.code, error.message)  # without its traceback, which holds the half-loaded model
        self._failures[model] = _Failure(error=kept, times=times, at=self._now(), weights=weights)

    def loaded(self, model: str) -> None:
        self._failures.pop(model, None)

    def standing(self, model: str, weights: object = None) -> WorkerError | None:
        """The error of the last load with the seconds until the next one is allowed; None when it may be tried."""
        failure = self._of(model, weights)
        return self._told(failure) if failure and self._left_s(failure) > 0 else None

    def last(self, model: str, weights: object = None) -> str | None:
        """The error of the last load, also once the next one is allowed; None where it went well, or with other
        files."""
        failure = self._of(model, weights)
        return self._told(failure).message if failure else None

    def _of(self, model: str, weights: object) -> _Failure | None:
        failure = self._failures.get(model)
        return failure if failure and failure.weights == weights else None

    def _left_s(self, failure: _Failure) -> float:
        return failure.at + pause_s(failure.times) - self._now()

    def _told(self, failure: _Failure) -> WorkerError:
        left_s = math.ceil(self._left_s(failure))
        again = f"the next try is in {left_s} s" if left_s > 0 else "the next request tries again"
        return WorkerError(failure.error.code, f"{failure.error.message}; {again} (failed {failure.times} times)")


def pause_s(times: int) -> float:
    """2, 6, 18, 54, 162, 486 and then 600 s."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * GROWTH ** (min(times, 20) - 1))
