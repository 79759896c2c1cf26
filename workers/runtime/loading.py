"""One load of one model: on which device, with which error when it fails, in how much memory; it keeps nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from registry.schema import Card
from registry.weights import need
from workers.modality import Code, Machine, Modality, WorkerError
from workers.runtime import memory
from workers.runtime.device import CPU

log = logging.getLogger(__name__)

LONGEST_TOLD = 500  # characters of a library's error


def loaded_on(device: str, card: Card, modality: Modality, machine: Machine) -> tuple[Any, str]:
    """The model and the device it is on: the CPU where another one failed. Raises WorkerError, whatever the library
    raised."""
    try:
        return _load(card, modality, replace(machine, device=device)), device
    except WorkerError as error:
        if device == CPU or error.code is Code.MODEL_NOT_FOUND:
            raise
        log.warning("%s cannot be loaded on %s (%s); taking the CPU", card.id, device, error.message)
    memory.give_back()  # after the error is gone, which holds what was loaded of it
    return _load(card, modality, replace(machine, device=CPU)), CPU


def stated_bytes(card: Card, machine: Machine) -> int:
    """What the card says or the files' size tells; 0 where nothing does: then the load itself shows it."""
    found = machine.placed(card)
    variant = found.variant if found else next(iter(card.variants), None)
    needed = need(card, variant, found.folder if found and card.package is None else None)
    return needed.bytes if needed else 0


def _load(card: Card, modality: Modality, machine: Machine) -> Any:
    try:
        return modality.load(card, machine)
    except WorkerError:
        raise
    except MemoryError as error:
        raise WorkerError(
            Code.MEMORY_EXCEEDED,
            f"no memory left to load {card.id}; stop other workers or use a smaller model",
        ) from error
    except BaseException as error:  # libraries raise their own trees, SystemExit too; the worker must answer
        log.exception("loading %s failed", card.id)
        said = " ".join(str(error).split())  # libraries tell in many lines what a log and an answer want in one
        told = f"loading {card.id} failed: {type(error).__name__}: {said}"[:LONGEST_TOLD]
        raise WorkerError(Code.MODEL_LOAD_FAILED, told) from error
