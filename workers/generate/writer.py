"""What an engine of language models offers to the modality, and what passes between them; it runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workers.generate.asked import Asked
from workers.modality import Batch, Code, Turn, WorkerError

if TYPE_CHECKING:
    from workers.constrain import Constraint  # its libraries are for calls with a schema alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One generation, ready to run: the item's number in its batch, the prompt's tokens, and the most it may write."""

    number: int
    asked: Asked
    tokens: Sequence[int]
    max_tokens: int
    stop: tuple[str, ...]
    constraint: Constraint | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What came out. `output_tokens` counts the end-of-answer token too. `mean_logprob`: of what the model itself
    gave its tokens, before temperature and grammar; None where nothing was written."""

    text: str
    finish_reason: str
    output_tokens: int
    mean_logprob: float | None


class Writer(Protocol):
    """A loaded language model, whichever engine runs it."""

    context_tokens: int
    """The longest prompt, together with its answer where `shares_context`."""
    shares_context: bool
    """False for a model whose encoder reads and whose decoder writes."""
    plain_stop: tuple[str, ...]
    """Where to stop a model that has no chat template and so knows no end of a turn."""

    def read(self, turns: Sequence[Turn]) -> Sequence[int]:
        """The tokens of these turns as a prompt. Raises WorkerError `invalid_input`."""

    def write(self, jobs: Sequence[Job], batch: Batch) -> list[Written | WorkerError]:
        """One answer per job, in order; each says, stops and fails for itself."""

    def close(self) -> None:
        """Gives the memory back; not to be used afterwards."""


def too_late() -> WorkerError:
    return WorkerError(
        Code.TIMEOUT, "the deadline passed while the model wrote; ask for fewer max_tokens or allow more time"
    )


def left_alone() -> WorkerError:
    return WorkerError(Code.TIMEOUT, "nobody waits for this answer any more; it was stopped")
