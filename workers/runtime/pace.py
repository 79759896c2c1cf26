"""What is kept of how a model loaded and answered in this process; it looks at no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.modality import Code, Result, WorkerError

MEMORY = 20  # messages: an answer's time weighs half as much after about 14 more


@dataclass(slots=True)
class Mean:
    """A plain mean at first, so that a slow first answer weighs no more than the next; then a moving one. `value` is
    None until there was one."""

    value: float | None = None
    count: int = 0

    def add(self, measured: float) -> None:
        self.count = min(self.count + 1, MEMORY)
        before = self.value or 0.0
        self.value = before + (measured - before) / self.count


@dataclass(slots=True)
class Measured:
    """One model in this process. Milliseconds, items and tokens per second are of one message, however many items
    travelled in it: what waits in a queue are messages. Tokens are those written, or those read where none is."""

    load_ms: float | None = None
    loads: int = 0
    inference: Mean = field(default_factory=Mean)
    queue_wait: Mean = field(default_factory=Mean)
    batch_items: Mean = field(default_factory=Mean)
    tokens_per_s: Mean = field(default_factory=Mean)
    errors: Counter[Code] = field(default_factory=Counter)  # of items; no more kinds than Code has

    @property
    def inference_ms(self) -> float | None:
        return self.inference.value

    def loaded(self, took_ms: float) -> None:
        """The last load is the best guess of the next: it found the same disk and the same neighbours."""
        self.load_ms = took_ms
        self.loads += 1

    def answered(self, took_ms: float, results: Iterable[Result | WorkerError] = (), waited_ms: float = 0.0) -> None:
        """One message, with what came of its items."""
        answers = list(results)
        self.inference.add(took_ms)
        self.queue_wait.add(waited_ms)
        if answers:
            self.batch_items.add(len(answers))
        self.errors.update(each.code for each in answers if isinstance(each, WorkerError))
        tokens = _tokens([each for each in answers if not isinstance(each, WorkerError)])
        if tokens and took_ms > 0:
            self.tokens_per_s.add(tokens / took_ms * 1e3)

    def failed(self, code: Code, items: int) -> None:
        """A message that was answered with one error for all of its items."""
        self.errors[code] += items

    def told(self) -> dict[str, Any]:
        """As it is announced. Another thread may be counting meanwhile: dict() copies in one step."""
        return {
            "loads": self.loads,
            "load_ms": self.load_ms,
            "inference_ms": self.inference_ms,
            "queue_wait_ms": self.queue_wait.value,
            "batch_items": self.batch_items.value,
            "tokens_per_s": self.tokens_per_s.value,
            "errors": {code.value: count for code, count in sorted(dict(self.errors).items())},
        }


def _tokens(results: Iterable[Result]) -> int:
    found = list(results)
    return _sum(found, "output_tokens") or _sum(found, "tokens")


def _sum(results: Iterable[Mapping[str, Any]], name: str) -> int:
    return sum(int(each.get(name) or 0) for each in results)
