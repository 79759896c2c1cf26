"""Keeps loaded models and runs batches on them, each item with its own result or error; knows no modality.

One process runs one inference at a time. Models are loaded when first asked for, kept least recently
used first within a count and a memory bound, and dropped when the bound needs room.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.load import Registry, UnknownModel
from registry.schema import Card, Task
from registry.weights import missing as weights_missing
from workers.modality import Batch, Code, Machine, Modality, Result, Room, WorkerError
from workers.pace import Measured

log = logging.getLogger(__name__)

FAILED_LOAD_PAUSE_S = 30.0  # a damaged file stays damaged: do not read 100 MB again for every request
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much may stay loaded. Memory is the growth of this process while a model was loaded."""

    models: int = 4
    memory_bytes: int = 3 * 2**30


@dataclass(kw_only=True, slots=True)
class _Resident:
    loaded: Any
    memory_bytes: int


class Runtime:
    """Answers batches. `rooms` maps a queue's name to the modality that serves its models."""

    def __init__(
        self,
        registry: Registry,
        rooms: Mapping[str, Room],
        machine: Machine,
        limits: Limits | None = None,
    ) -> None:
        self._registry = registry
        self._rooms = rooms
        self._machine = machine
        self._limits = limits or Limits()
        self._resident: OrderedDict[str, _Resident] = OrderedDict()
        self._failed: dict[str, tuple[float, WorkerError]] = {}
        self._measured: defaultdict[str, Measured] = defaultdict(Measured)
        self._lock = threading.Lock()  # one load or inference at a time, and so one flight per load

    def run(self, model_id: str, batch: Batch) -> tuple[list[Result | WorkerError], dict[str, float]]:
        """One result or error per item, and milliseconds of `load` and `inference`.

        Raises WorkerError when the whole batch fails before inference: no such model, weights missing,
        load failed, too little memory.
        """
        with self._lock:
            started = time.monotonic()
            card = self._card(model_id, batch.task)
            modality = self._modality(card)
            loaded = self._load(card, modality)
            ready = time.monotonic()
            results = _isolated(modality, loaded, batch)
            inference_ms = (time.monotonic() - ready) * 1e3
            self._measured[card.id].answered(inference_ms)
        return results, {"load": (ready - started) * 1e3, "inference": inference_ms}

    def announce(self, queues: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Per model of these queues: what is missing (None: it can be called), whether it is loaded, its resident
        bytes, and milliseconds of its last load and of a message's inference (None: not measured here yet).
        Never waits for an inference."""
        cards = [card for card in self._registry.cards.values() if card.queue in queues]
        return {card.id: self._state(card) for card in cards}

    def _state(self, card: Card) -> dict[str, Any]:
        resident = self._resident.get(card.id)
        measured = self._measured.get(card.id) or Measured()
        return {
            "missing": None if resident else self._missing(card),
            "loaded": resident is not None,
            "resident_bytes": resident.memory_bytes if resident else 0,
            "load_ms": measured.load_ms,
            "inference_ms": measured.inference_ms,
        }

    def _missing(self, card: Card) -> str | None:
        if sentence := self._unserved(card):
            return sentence
        if failure := self._recent_failure(card):
            return failure.message
        return weights_missing(card, self._machine.models_dir)

    def _card(self, model_id: str, task: Task) -> Card:
        try:
            card = self._registry.get(model_id)
        except UnknownModel as error:
            raise WorkerError(Code.MODEL_NOT_FOUND, str(error)) from error
        if task not in card.tasks:
            can = ", ".join(card.tasks)
            raise WorkerError(Code.INVALID_CONFIG, f"{card.id} cannot do {task}; it can do {can}")
        return card

    def _unserved(self, card: Card) -> str | None:
        if card.queue in self._rooms:
            return None
        return f"{card.queue} has no worker on this installation yet"

    def _modality(self, card: Card) -> Modality:
        if sentence := self._unserved(card):
            raise WorkerError(Code.MODEL_NOT_FOUND, sentence)
        return self._rooms[card.queue or ""].open()

    def _load(self, card: Card, modality: Modality) -> Any:
        if card.id in self._resident:
            self._resident.move_to_end(card.id)
            return self._resident[card.id].loaded
        if failure := self._recent_failure(card):
            raise failure
        if sentence := weights_missing(card, self._machine.models_dir):
            raise WorkerError(Code.MODEL_NOT_FOUND, sentence)
        self._make_room(card.memory_bytes or 0)
        try:
            return self._load_measured(card, modality)
        except WorkerError as error:
            self._failed[card.id] = (time.monotonic(), error)
            raise

    def _load_measured(self, card: Card, modality: Modality) -> Any:
        gc.collect()  # garbage freed meanwhile would be subtracted from the growth
        before, started = resident_bytes(), time.monotonic()
        loaded = _loaded(card, modality, self._machine)
        self._measured[card.id].loaded((time.monotonic() - started) * 1e3)
        grown = max(0, resident_bytes() - before)
        if grown > self._limits.memory_bytes:
            raise WorkerError(
                Code.MEMORY_EXCEEDED,
                f"{card.id} needs {grown >> 20} MiB, this worker may keep {self._limits.memory_bytes >> 20}; "
                "raise the worker's memory limit (--memory-mib) or use a smaller model",
            )
        self._make_room(grown)
        self._resident[card.id] = _Resident(loaded=loaded, memory_bytes=grown)
        log.info("loaded %s: %d MiB resident", card.id, grown >> 20)
        return loaded

    def _recent_failure(self, card: Card) -> WorkerError | None:
        at, error = self._failed.get(card.id, (float("-inf"), None))
        return error if time.monotonic() - at < FAILED_LOAD_PAUSE_S else None

    def _make_room(self, needed_bytes: int) -> None:
        """Drops the models that were used longest ago until one more of this size fits."""
        while self._resident and self._is_full(needed_bytes):
            dropped, _ = self._resident.popitem(last=False)
            log.info("dropped %s to make room", dropped)
            gc.collect()

    def _is_full(self, needed_bytes: int) -> bool:
        used = sum(resident.memory_bytes for resident in self._resident.values())
        return len(self._resident) >= self._limits.models or used + needed_bytes > self._limits.memory_bytes


def resident_bytes() -> int:
    """Memory of this process that is really in RAM (Linux); 0 where /proc is not to be had."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def _loaded(card: Card, modality: Modality, machine: Machine) -> Any:
    try:
        return modality.load(card, machine)
    except WorkerError:
        raise
    except MemoryError as error:
        raise WorkerError(
            Code.MEMORY_EXCEEDED,
            f"no memory left to load {card.id}; stop other workers or use a smaller model",
        ) from error
    except Exception as error:  # libraries raise their own trees; the worker must answer, whatever it was
        log.exception("loading %s failed", card.id)
        raise WorkerError(
            Code.MODEL_LOAD_FAILED, f"loading {card.id} failed: {type(error).__name__}: {error}"
        ) from error


def _isolated(modality: Modality, loaded: Any, batch: Batch) -> list[Result | WorkerError]:
    """Where the batch as a whole fails, each item runs alone, so that one bad item spoils no other."""
    try:
        results = list(modality.infer(loaded, batch))
        if len(results) != len(batch.items):
            raise ValueError(f"{len(results)} results for {len(batch.items)} items")
        return results
    except Exception as error:  # as above: one answer per item, whatever a library raised
        if len(batch.items) == 1 or (isinstance(error, WorkerError) and error.code is Code.TIMEOUT):
            return [_told(error)] * len(batch.items)
        return [_isolated(modality, loaded, batch.alone(number))[0] for number in range(len(batch.items))]


def _told(error: Exception) -> WorkerError:
    if isinstance(error, WorkerError):
        return error
    if isinstance(error, MemoryError):
        return WorkerError(Code.MEMORY_EXCEEDED, "no memory left for this input; send less at once")
    log.error("inference failed", exc_info=error)
    return WorkerError(Code.INFERENCE_FAILED, f"inference failed: {type(error).__name__}: {error}")
