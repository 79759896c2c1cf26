"""What a model lacks before it can be loaded: a worker, a library, weights, or a load that did not just fail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from registry.engines import Engine, lacking
from registry.schema import Card, Variant
from registry.weights import missing as weights_missing
from registry.weights import placed
from workers.modality import Code, Room, WorkerError
from workers.runtime.failures import Failures
from workers.runtime.fetching import Fetching

DOWNLOAD_WAIT_S = 10.0  # a request waits so long for weights: small ones are here by then
ENGINE_KNOWN_S = 30.0  # looking for an absent library searches every folder of the path


class Readiness:
    """Asked before a load and at every announcement. Without `fetching` weights that are not here are missing."""

    def __init__(self, rooms: Mapping[str, Room], models_dir: Path, fetching: Fetching | None) -> None:
        self._rooms = rooms
        self._models_dir = models_dir
        self._fetching = fetching
        self._failures = Failures()
        self._engines: dict[Engine, tuple[float, str | None]] = {}

    def missing(self, card: Card) -> str | None:
        """None when it can be called, else a sentence: what is missing and what to do. Without the library that runs a
        model its weights are of no use: that comes first."""
        if sentence := self._unrunnable(card):
            return sentence
        if sentence := weights_missing(card, self._models_dir):
            return self._fetching.told(card) if self._fetching and _can_be_fetched(card) else sentence
        failure = self.failure(card)
        return failure.message if failure else None

    def failed_lately(self, card: Card) -> str | None:
        """Why its last download or load failed and when it is tried again, while that is the last thing known of it;
        the next request may try all the same. None: nothing failed."""
        if weights_missing(card, self._models_dir):
            return self._fetching.last_failure(card) if self._fetching and _can_be_fetched(card) else None
        return self._failures.last(card.id, self._weights(card)) if card.id in self._failures else None

    def gone(self, card: Card) -> bool:
        """Whether its weights are not here any more: somebody removed them."""
        return weights_missing(card, self._models_dir) is not None

    def require(self, card: Card, deadline_s: float) -> None:
        """Returns once a load can be tried; waits a moment for weights on their way. Raises WorkerError
        model_not_found, or that of a load that failed a moment ago."""
        if sentence := self._unrunnable(card):
            raise WorkerError(Code.MODEL_NOT_FOUND, sentence)
        if failure := self.failure(card):
            raise failure
        if sentence := weights_missing(card, self._models_dir):
            if self._fetching is None or not _can_be_fetched(card):
                raise WorkerError(Code.MODEL_NOT_FOUND, sentence)
            self._fetching.waited_for(card, min(DOWNLOAD_WAIT_S, deadline_s - time.monotonic()))

    def failed(self, card: Card, error: WorkerError) -> None:
        self._failures.failed(card.id, error, self._weights(card))

    def loaded(self, card: Card) -> None:
        self._failures.loaded(card.id)

    def failure(self, card: Card) -> WorkerError | None:
        """That of the last load, while it is not to be tried again and the files are the same."""
        return self._failures.standing(card.id, self._weights(card)) if card.id in self._failures else None

    def _unrunnable(self, card: Card) -> str | None:
        if card.queue not in self._rooms:
            return f"{card.queue} has no worker on this installation yet"
        variant = variant_of(card, self._models_dir)
        return self._lacking(variant.runs_on) if variant and variant.runs_on else None

    def _lacking(self, engine: Engine) -> str | None:
        known_at, sentence = self._engines.get(engine, (float("-inf"), None))
        if time.monotonic() - known_at > ENGINE_KNOWN_S:
            sentence = lacking(engine)
            self._engines[engine] = time.monotonic(), sentence
        return sentence

    def _weights(self, card: Card) -> object:
        """Equal while the files are the same, as far as their folder tells."""
        found = placed(card, self._models_dir)
        return (found.folder, found.folder.stat().st_mtime_ns) if found else None


def variant_of(card: Card, models_dir: Path) -> Variant | None:
    """The variant that lies here; where none does, the card's first."""
    found = placed(card, models_dir)
    return found.variant if found else next(iter(card.variants), None)


def _can_be_fetched(card: Card) -> bool:
    return card.package is None and any(variant.hub_id or card.hub_id for variant in card.variants)
