"""The models that are loaded in this process, within its memory: what is loaded, what goes, what is refused.

It is called by one thread at a time, whoever has the turn; `load_s`, `get` and `loaded` may be asked by any.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from registry.load import Registry
from registry.schema import Card
from registry.weights import MORE_MEMORY, smaller_model
from workers.modality import Code, Machine, Modality, WorkerError
from workers.runtime import memory
from workers.runtime.device import CPU
from workers.runtime.loading import loaded_on, stated_bytes

log = logging.getLogger(__name__)

MB = 10**6
UNMEASURED_LOAD_S = 1.0
RELIEVE_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What may stay loaded: `memory_bytes` is for the whole process, libraries and interpreter included."""

    models: int = 4
    memory_bytes: int = 3 * 2**30
    idle_s: float = float("inf")


@dataclass(kw_only=True, slots=True)
class Resident:
    """A loaded model. `memory_bytes`: growth of the process around its load and its first inference."""

    card: Card
    modality: Modality
    loaded: Any
    device: str
    memory_bytes: int
    before_bytes: int
    used_at: float
    has_run: bool = False


Deed = Literal["load", "unload"]
Heard = Callable[[Deed, Card, int], None]
"""Told what was loaded and unloaded: the card, bytes."""


def _unheard(what: Deed, card: Card, size: int) -> None: ...


class Residency:
    """`available()`: memory the machine can still give, None where that is not known."""

    def __init__(
        self,
        registry: Registry,
        machine: Machine,
        limits: Limits,
        *,
        available: Callable[[], int | None] = memory.available_bytes,
        heard: Heard = _unheard,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._machine = machine
        self._limits = limits
        self._available = available
        self._heard = heard
        self._now = now
        self._residents: OrderedDict[str, Resident] = OrderedDict()
        self._needs: dict[str, int] = {}  # bytes, as measured by the last load
        self._load_s: dict[str, float] = {}
        self._relieved_at = float("-inf")
        self._cpu_only: set[str] = set()  # models whose load or inference failed on the GPU

    def get(self, model: str) -> Resident | None:
        return self._residents.get(model)

    def load_s(self, model: str) -> float:
        """Seconds that a load would take if it pushes another model out; 0.0 when it is loaded or there is room."""
        if model in self._residents or not self._residents:
            return 0.0
        card = self._registry.cards.get(model)
        if not self._is_full(self._needs.get(model) or (card.memory_bytes if card else None) or 0):
            return 0.0
        return self._load_s.get(model, UNMEASURED_LOAD_S)

    def used(self, model: str) -> Resident | None:
        """The loaded model, which is now the one used last."""
        resident = self._residents.get(model)
        if resident:
            self._residents.move_to_end(model)
            resident.used_at = self._now()
        return resident

    def load(self, card: Card, modality: Modality) -> tuple[Resident, bool]:
        """Loads it, and whether others had to go for it. Raises WorkerError: memory_exceeded before anything is
        loaded or dropped when it cannot fit, model_load_failed, and what the modality raises."""
        needed = self._needed(card)
        self._refuse_what_cannot_fit(card, needed)
        pushed = self._make_room(needed)
        if self._is_full(needed):
            raise self._refusal(card, needed)
        resident = self._loaded_or_alone(card, modality)
        self._residents[card.id] = resident
        log.info("loaded %s on %s: %d MB resident", card.id, resident.device, resident.memory_bytes // MB)
        self._heard("load", card, resident.memory_bytes)
        return resident, self._fit_after_load(resident) or pushed

    def has_run(self, resident: Resident) -> None:
        """After an inference. The first one reads weights that are mapped and makes buffers: it is counted too."""
        if not resident.has_run:
            resident.has_run = True
            memory.give_back()
            resident.memory_bytes = max(resident.memory_bytes, memory.resident_bytes() - resident.before_bytes)
            self._needs[resident.card.id] = resident.memory_bytes
        if memory.resident_bytes() > self._limits.memory_bytes and self._may_relieve():
            memory.give_back()
            self._make_room(0, keep=resident.card.id)

    def _may_relieve(self) -> bool:
        """Alone in memory there is nothing to drop: garbage is not collected after every batch for nothing."""
        if len(self._residents) == 1 and self._now() - self._relieved_at < RELIEVE_EVERY_S:
            return False
        self._relieved_at = self._now()
        return True

    def relieve(self, keep: str) -> bool:
        """Drops the model used longest ago, other than `keep`; whether there was one."""
        dropped = self._drop_oldest(keep)
        memory.give_back()
        return dropped

    def leave_gpu(self, card: Card) -> None:
        """From now on this model is loaded on the CPU in this process."""
        log.warning("%s failed on the GPU; it runs on the CPU from now on", card.id)
        self._cpu_only.add(card.id)
        self.drop([card.id])

    def drop(self, models: Iterable[str]) -> None:
        for model in models:
            if resident := self._residents.pop(model, None):
                self._forget(resident)
        memory.give_back()

    def drop_idle(self) -> None:
        """Those unused for `Limits.idle_s`."""
        before = self._now() - self._limits.idle_s
        idle = [model for model, resident in self._residents.items() if resident.used_at <= before]
        if idle:
            self.drop(idle)

    def models(self) -> list[str]:
        return list(self._residents)

    def _loaded_or_alone(self, card: Card, modality: Modality) -> Resident:
        """Where memory ran out during the load the others go, and it is loaded once more."""
        try:
            return self._loaded(card, modality)
        except WorkerError as error:
            if error.code is not Code.MEMORY_EXCEEDED or not self._residents:
                raise
        self.drop(self.models())
        return self._loaded(card, modality)

    def _loaded(self, card: Card, modality: Modality) -> Resident:
        memory.give_back()  # garbage freed meanwhile would be subtracted from the growth
        before, started = memory.resident_bytes(), time.monotonic()
        device = CPU if card.id in self._cpu_only else self._machine.device
        loaded, device = loaded_on(device, card, modality, self._machine)
        if device == CPU != self._machine.device:
            self._cpu_only.add(card.id)
        self._load_s[card.id] = time.monotonic() - started
        memory.give_back()  # what loading alone needed is not the model's
        grown = max(0, memory.resident_bytes() - before)
        self._needs[card.id] = grown
        return Resident(
            card=card,
            modality=modality,
            loaded=loaded,
            device=device,
            memory_bytes=grown,
            before_bytes=before,
            used_at=self._now(),
        )

    def _fit_after_load(self, resident: Resident) -> bool:
        """What was measured counts from here on. Alone and still too large: it goes, and is refused at once next
        time."""
        pushed = self._make_room(0, keep=resident.card.id)
        if memory.resident_bytes() <= self._limits.memory_bytes:
            return pushed
        self.drop([resident.card.id])
        raise self._refusal(resident.card, resident.memory_bytes)

    def _needed(self, card: Card) -> int:
        """Bytes a load is expected to take: measured before, said by the card, or made from the files' size."""
        return self._needs.get(card.id) or stated_bytes(card, self._machine)

    def _refuse_what_cannot_fit(self, card: Card, needed: int) -> None:
        if needed > self._limits.memory_bytes - self._floor():
            raise self._refusal(card, needed)

    def _floor(self) -> int:
        """What this process holds without any model."""
        held = sum(resident.memory_bytes for resident in self._residents.values())
        return max(0, memory.resident_bytes() - held)

    def _refusal(self, card: Card, needed: int) -> WorkerError:
        free = max(0, self._limits.memory_bytes - self._floor())
        machine = self._available()
        whose, more = "this worker", MORE_MEMORY
        if machine is not None and machine < min(free, needed):
            free, whose, more = machine, "this machine", "free memory"
        smaller = smaller_model(card, free, self._registry)
        return WorkerError(
            Code.MEMORY_EXCEEDED,
            f"{card.id} needs {needed // MB} MB of memory, {whose} has {free // MB} MB available; "
            + (f"try {smaller}, or " if smaller else "")
            + more,
        )

    def _make_room(self, needed: int, keep: str | None = None) -> bool:
        """Drops the models used longest ago until so much more fits; whether any was dropped."""
        dropped = False
        while self._is_full(needed, loading=keep is None) and self._drop_oldest(keep):
            dropped = True
            memory.give_back()
        return dropped

    def _drop_oldest(self, keep: str | None) -> bool:
        oldest = next((model for model in self._residents if model != keep), None)
        if oldest is None:
            return False
        self._forget(self._residents.pop(oldest))
        return True

    def _is_full(self, needed: int, loading: bool = True) -> bool:
        if loading and self._residents and len(self._residents) >= self._limits.models:
            return True
        if memory.resident_bytes() + needed > self._limits.memory_bytes:
            return True
        machine = self._available() if needed else None
        return machine is not None and needed > machine

    def _forget(self, resident: Resident) -> None:
        """Closes it and lets go of every reference, so that its memory can return."""
        log.info("unloaded %s: %d MB", resident.card.id, resident.memory_bytes // MB)
        loaded, resident.loaded = resident.loaded, None
        if close := getattr(loaded, "close", None):
            with contextlib.suppress(Exception):  # it is dropped anyway; a library may close twice
                close()
        self._heard("unload", resident.card, resident.memory_bytes)
