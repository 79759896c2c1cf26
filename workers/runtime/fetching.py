"""Weights on their way to this machine, each brought once in a thread of its own; it loads nothing.

A download takes minutes: a request does not hold the worker for so long. It waits a moment, is then told how far the
download is, and the router takes another model until the weights are here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from registry.schema import Card
from registry.weights import Moved, Placed, TooBig, WeightsError, ensure
from workers.modality import Code, WorkerError
from workers.runtime.failures import Failures

log = logging.getLogger(__name__)

MB = 10**6


@dataclass(slots=True)
class _Flight:
    moved: Moved | None = None
    over: threading.Event = field(default_factory=threading.Event)


Bring = Callable[[Card, Callable[[Moved], None]], Placed]


class Fetching:
    """`bring` downloads the weights of a card and reports on the way; it raises WeightsError."""

    def __init__(self, bring: Bring, now: Callable[[], float] = time.monotonic) -> None:
        self._bring = bring
        self._flights: dict[str, _Flight] = {}
        self._failures = Failures(now)
        self._lock = threading.Lock()

    def waited_for(self, card: Card, seconds: float) -> None:
        """Begins the download where it is not under way, and returns once it is over. Raises WorkerError where it is
        not after so many seconds, and where it failed a moment ago."""
        if failure := self._failures.standing(card.id):
            raise failure
        flight = self._flight(card)
        if not flight.over.wait(max(0.0, seconds)):
            raise WorkerError(Code.MODEL_NOT_FOUND, self.told(card) or f"{card.id} has just come; ask again")
        if failure := self._failures.standing(card.id):
            raise failure

    def told(self, card: Card) -> str | None:
        """How far a download is, or why it failed and when it is tried again; None where nothing hinders a try."""
        if flight := self._flights.get(card.id):
            moved = flight.moved
            far = f" ({moved.bytes // MB} of {moved.total_bytes // MB} MB are here)" if moved else ""
            return f"{card.id} is being downloaded{far}; ask again later"
        failure = self._failures.standing(card.id)
        return failure.message if failure else None

    def last_failure(self, card: Card) -> str | None:
        """Why the last download failed, also once the next one is allowed; None where none did."""
        return self._failures.last(card.id)

    def _flight(self, card: Card) -> _Flight:
        with self._lock:
            if card.id not in self._flights:
                self._flights[card.id] = _Flight()
                name = f"download {card.id}"
                threading.Thread(target=self._fly, args=(card, self._flights[card.id]), name=name, daemon=True).start()
            return self._flights[card.id]

    def _fly(self, card: Card, flight: _Flight) -> None:
        def report(moved: Moved) -> None:
            flight.moved = moved

        try:
            self._bring(card, report)
            self._failures.loaded(card.id)
        except TooBig as error:
            self._failures.failed(card.id, WorkerError(Code.MEMORY_EXCEEDED, str(error)))
        except (WeightsError, OSError) as error:
            self._failures.failed(
                card.id, WorkerError(Code.MODEL_NOT_FOUND, f"{card.id} cannot be downloaded: {error}")
            )
        finally:
            with self._lock:
                del self._flights[card.id]
            flight.over.set()


def from_hub(models_dir: Path, memory_bytes: int) -> Bring:
    """The variant that fits into so much memory, into the models folder."""

    def bring(card: Card, report: Callable[[Moved], None]) -> Placed:
        return ensure(card, models_dir, allowed=True, available_memory_bytes=memory_bytes, report=report)

    return bring
