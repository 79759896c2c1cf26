"""Answers batches on loaded models, one at a time, each item with its own result or error; knows no modality.

One process runs one inference at a time. Models are loaded when first asked for (or before: `prewarm`), stay within a
count and the process's memory, and go when others need the room or when nobody asked for them for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from registry.load import Registry, UnknownModel
from registry.schema import Card, Task
from registry.weights import audit
from workers.modality import Batch, Code, Machine, Modality, Result, Room, WorkerError
from workers.runtime import memory
from workers.runtime.device import CPU
from workers.runtime.fetching import Fetching
from workers.runtime.inference import Inference
from workers.runtime.pace import Measured
from workers.runtime.pressure import Pressure
from workers.runtime.readiness import Readiness, variant_of
from workers.runtime.residency import Deed, Limits, Residency, Resident
from workers.runtime.turns import Turns
from workers.runtime.watchdog import Watchdog

__all__ = ["Limits", "Runtime"]

log = logging.getLogger(__name__)

LONGEST_LOAD_S = 900.0  # a load that hangs (a disk that is gone) would keep this process for ever
CONTENDED_S = 30.0  # after the last time that a model had to go for another one
SWEEP_S = 5.0
BRIEF_MS = 150.0


def _nobody() -> None: ...


class Runtime:
    """`rooms` maps a queue's name to the modality that serves its models. Many threads may call `run`: they wait for
    their turn. Without a `watchdog` a hanging inference hangs for ever; without `fetching` no weights come."""

    def __init__(
        self,
        registry: Registry,
        rooms: Mapping[str, Room],
        machine: Machine,
        limits: Limits | None = None,
        *,
        watchdog: Watchdog | None = None,
        fetching: Fetching | None = None,
        available: Callable[[], int | None] = memory.available_bytes,
    ) -> None:
        self._registry = registry
        self._rooms = rooms
        self._machine = machine
        self._limits = limits or Limits()
        self._residency = Residency(registry, machine, self._limits, available=available, heard=self._audit)
        self._pressure = Pressure(self._limits.memory_bytes)
        self._turns = Turns(self._residency.load_s)
        self._readiness = Readiness(rooms, machine.models_dir, fetching)
        self._measured: defaultdict[str, Measured] = defaultdict(Measured)
        self._watchdog = watchdog
        self._contended_until = float("-inf")
        self._last_ms = float("inf")

    def run(
        self, model_id: str, batch: Batch, *, waited_ms: float = 0.0, on_stuck: Callable[[], None] = _nobody
    ) -> tuple[list[Result | WorkerError], dict[str, float]]:
        """One result or error per item, and milliseconds of `queue_wait` (`waited_ms`, and the wait for the turn in
        this process), `load` and `inference`.

        `on_stuck` is called in another thread when the batch hangs beyond its deadline, just before this process ends.
        Raises WorkerError when the whole batch fails before inference: no such model, weights missing, load failed,
        too little memory, deadline passed or nobody waiting any more.
        """
        came = time.monotonic()
        card = self._card(model_id, batch.task)
        try:
            modality = self._ready(card, batch.deadline)
            with self._turns.take(card.id, batch.deadline):
                began = time.monotonic()
                wait_ms = waited_ms + (began - came) * 1e3
                return self._run(card, modality, batch, wait_ms, on_stuck)
        except WorkerError as error:
            self._measured[card.id].failed(error.code, len(batch.items))
            raise

    def prewarm(self, model_ids: Iterable[str]) -> None:
        """Loads these now, in turn with the requests; what cannot be loaded is logged and left to its first request."""
        for model_id in model_ids:
            try:
                card = self._registry.get(model_id)
                modality = self._ready(card, float("inf"))
                with self._turns.take(card.id):
                    self._resident(card, modality, _nobody)
            except (UnknownModel, WorkerError) as error:
                log.warning("%s is not loaded ahead: %s", model_id, error)

    def sweep(self) -> None:
        """Unloads what nobody asked for lately; does nothing while there is work."""
        with self._turns.take_if_free() as free:
            if free:
                self._residency.drop_idle()

    def sweep_for_ever(self) -> None:
        """`sweep` every few seconds in a thread of its own, as long as this process lives."""

        def repeat() -> None:
            while True:
                time.sleep(SWEEP_S)
                self.sweep()

        threading.Thread(target=repeat, name="idle models", daemon=True).start()

    def close(self) -> None:
        """Unloads everything; the next request loads anew."""
        with self._turns.take(""):
            self._residency.drop(self._residency.models())

    def contended(self) -> bool:
        """Whether models lately had to go for others: then seeing more of the waiting messages saves loads."""
        return time.monotonic() < self._contended_until

    def brief(self) -> bool:
        """Whether the last inference was so short that another worker loses nothing by a message that waits here."""
        return self._last_ms < BRIEF_MS

    def announce(self, queues: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Per model of these queues: what is `missing` (None: it can be called), why its last try `failed` (None: it
        did not; a call may be tried where nothing is missing), whether it is `loaded` and on which `device`, its
        `resident_bytes`, and what was measured in this process (`pace.Measured.told`; None: not yet). Never waits
        for an inference. A loaded model whose files were removed is unloaded here, or is `missing` until there is no
        work."""
        cards = [card for card in self._registry.cards.values() if card.queue in queues]
        self._drop_gone(cards)
        return {card.id: self._state(card) for card in cards}

    def _run(
        self, card: Card, modality: Modality, batch: Batch, wait_ms: float, on_stuck: Callable[[], None]
    ) -> tuple[list[Result | WorkerError], dict[str, float]]:
        started = time.monotonic()
        batch.check_time()
        resident = self._resident(card, modality, on_stuck)
        ready = time.monotonic()
        results = self._inferred(resident, batch, on_stuck)
        inference_ms = self._last_ms = (time.monotonic() - ready) * 1e3
        self._measured[card.id].answered(inference_ms, results, wait_ms)
        return results, {"queue_wait": wait_ms, "load": (ready - started) * 1e3, "inference": inference_ms}

    def _resident(self, card: Card, modality: Modality, on_stuck: Callable[[], None]) -> Resident:
        if resident := self._residency.used(card.id):
            return resident
        if failure := self._readiness.failure(card):  # another thread's load may have failed while this one waited
            raise failure
        try:
            with self._guarded(time.monotonic() + LONGEST_LOAD_S, on_stuck):
                return self._load(card, modality)
        except WorkerError as error:
            self._readiness.failed(card, error)
            raise

    def _load(self, card: Card, modality: Modality) -> Resident:
        started = time.monotonic()
        resident, pushed = self._residency.load(card, modality)
        took_s = time.monotonic() - started
        self._readiness.loaded(card)
        self._measured[card.id].loaded(took_s * 1e3)
        if pushed:
            self._turns.loaded()
            self._contended_until = time.monotonic() + CONTENDED_S
        return resident

    def _inferred(self, resident: Resident, batch: Batch, on_stuck: Callable[[], None]) -> list[Result | WorkerError]:
        """A batch whose every item the GPU failed on runs once more, on the CPU."""
        results = self._watched(resident, batch, on_stuck)
        if resident.device == CPU or not all(_is_of_the_device(each) for each in results):
            return results
        self._residency.leave_gpu(resident.card)
        on_cpu = self._resident(resident.card, resident.modality, on_stuck)
        return self._watched(on_cpu, batch, on_stuck)

    def _watched(self, resident: Resident, batch: Batch, on_stuck: Callable[[], None]) -> list[Result | WorkerError]:
        model = resident.card.id
        inference = Inference(
            modality=resident.modality, loaded=resident.loaded, relieve=lambda: self._residency.relieve(model)
        )
        memory.forget_peak()
        with self._guarded(batch.deadline, on_stuck):
            results = inference.answers(batch, self._pressure.most(model))
        if self._pressure.seen(model, len(batch.items), memory.peak_bytes()):
            self._residency.relieve(model)
        self._residency.has_run(resident)
        return results

    def _guarded(self, deadline_s: float, on_stuck: Callable[[], None]) -> AbstractContextManager[None]:
        return self._watchdog.guard(deadline_s, on_stuck) if self._watchdog else nullcontext()

    def _drop_gone(self, cards: Iterable[Card]) -> None:
        """Unloads models whose files were removed, unless there is work: then it is left to the next time."""
        if gone := [card.id for card in cards if self._is_gone(card)]:
            with self._turns.take_if_free() as free:
                if free:
                    self._residency.drop(gone)

    def _is_gone(self, card: Card) -> bool:
        return self._residency.get(card.id) is not None and self._readiness.gone(card)

    def _state(self, card: Card) -> dict[str, Any]:
        resident = self._residency.get(card.id)
        return {
            "missing": self._readiness.missing(card) if resident is None or self._readiness.gone(card) else None,
            "failed": self._readiness.failed_lately(card) if resident is None else None,
            "loaded": resident is not None,
            "device": resident.device if resident else None,
            "resident_bytes": resident.memory_bytes if resident else 0,
            "context_tokens": getattr(resident.loaded, "context_tokens", None) if resident else None,
            **(self._measured.get(card.id) or Measured()).told(),
        }

    def _card(self, model_id: str, task: Task) -> Card:
        try:
            card = self._registry.get(model_id)
        except UnknownModel as error:
            raise WorkerError(Code.MODEL_NOT_FOUND, str(error)) from error
        if task not in card.tasks:
            can = ", ".join(card.tasks)
            raise WorkerError(Code.INVALID_CONFIG, f"{card.id} cannot do {task}; it can do {can}")
        return card

    def _ready(self, card: Card, deadline_s: float) -> Modality:
        """The modality, once everything that loading needs is here. Raises WorkerError model_not_found or that of a
        load that failed a moment ago."""
        if self._residency.get(card.id) is None:
            self._readiness.require(card, deadline_s)
        return self._rooms[card.queue or ""].open()

    def _audit(self, what: Deed, card: Card, size: int) -> None:
        variant = variant_of(card, self._machine.models_dir)
        audit(self._machine.models_dir, what, card.id, variant.name if variant else None, bytes_=size)


def _is_of_the_device(answer: Result | WorkerError) -> bool:
    """An error whose reason is the GPU, as torch, ONNX Runtime and llama.cpp word them; a bad input is none."""
    if not isinstance(answer, WorkerError):
        return False
    failed = answer.code is Code.INFERENCE_FAILED and "cuda" in answer.message.casefold()
    return failed or answer.code is Code.MEMORY_EXCEEDED
