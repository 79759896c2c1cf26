"""What a modality is given and what it gives back; it loads nothing and runs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from registry.schema import Card, Task
from registry.weights import Placed, placed


class Code(StrEnum):
    """What went wrong, in the words the API maps to an answer."""

    MODEL_NOT_FOUND = "model_not_found"
    MODEL_LOAD_FAILED = "model_load_failed"
    MEMORY_EXCEEDED = "memory_exceeded"
    INFERENCE_FAILED = "inference_failed"
    PIPELINE_ERROR = "pipeline_error"
    TIMEOUT = "timeout"
    INVALID_CONFIG = "invalid_config"
    INVALID_INPUT = "invalid_input"


class WorkerError(Exception):
    """An error for the caller: `code`, and a message that says what was wrong and what to do next."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """An image, a document or a recording as it was uploaded: its bytes and the media type the caller named."""

    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One turn of a conversation. `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One caller's call. It gets its own result or its own error. Chat tasks fill `turns`, text tasks `texts` (and
    `query`), media tasks `media` (and `query`: a question to a document, a text to match an image with)."""

    texts: tuple[str, ...] = ()
    query: str | None = None
    media: tuple[Picture, ...] = ()
    turns: tuple[Turn, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def _silent(item: int, text: str) -> None: ...


def _never(item: int) -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Items of one model and one task, to be answered together. `deadline` is in monotonic seconds.

    `say(n, text)`: a piece of the answer of item n, for who reads along (`options["stream"]`); cheap, never waits.
    `stopped(n)`: nobody waits for item n any more; cheap, to be asked between tokens, pages, chunks.
    """

    task: Task
    items: tuple[Item, ...]
    deadline: float = float("inf")
    say: Callable[[int, str], None] = _silent
    stopped: Callable[[int], bool] = _never

    def check_time(self) -> None:
        """Between two steps of a long inference: raises WorkerError `timeout` once the deadline passed or nobody
        waits for any item any more."""
        if time.monotonic() > self.deadline:
            raise WorkerError(
                Code.TIMEOUT, "the deadline passed during inference; send less at once or allow more time"
            )
        if self.items and all(self.stopped(number) for number in range(len(self.items))):
            raise WorkerError(Code.TIMEOUT, "nobody waits for this batch any more; it was stopped")

    def alone(self, number: int) -> Batch:
        """Item `number` as a batch of its own, which says and stops as that item."""
        return Batch(
            task=self.task,
            items=(self.items[number],),
            deadline=self.deadline,
            say=lambda _, text: self.say(number, text),
            stopped=lambda _: self.stopped(number),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a load may use: the folder for downloaded and built weights, threads per inference, and the device
    (`cpu` or `cuda`). `allow_pickle`: weights that can run code when read are accepted. `memory_bytes` is what
    models may keep in this worker (None: unknown): of several variants of a model the best that fits is taken."""

    models_dir: Path
    threads: int = 1
    device: str = "cpu"
    allow_pickle: bool = False
    memory_bytes: int | None = None

    def placed(self, card: Card) -> Placed | None:
        """Where the weights of this card lie; None where they are not here."""
        return placed(card, self.models_dir, available_memory_bytes=self.memory_bytes)


Result = Mapping[str, Any]
"""What travels to the caller, msgpack values only. `results` is a list with one entry per input, or `f32` and `shape`
are vectors; generate gives `text`, `finish_reason` (stop or length) and `mean_logprob` (per token; None: not known).
`tokens` is what was read, `output_tokens` what was written."""


class Modality(Protocol):
    """One modality file: `load` may raise anything; `infer` answers item by item, in order. A loaded model that has a
    method `close` is closed before it is dropped."""

    def load(self, card: Card, machine: Machine) -> Any: ...

    def infer(self, loaded: Any, batch: Batch) -> Sequence[Result | WorkerError]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Which modality serves a queue: the module's name, imported when first needed (a worker for texts
    never pays for image libraries)."""

    module: str

    def open(self) -> Modality:
        return cast(Modality, import_module(self.module))
