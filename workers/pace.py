"""What is kept of how long a model took to load and to answer in this process; it looks at no clock."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 20  # messages: an answer's time weighs half as much after about 14 more


@dataclass(slots=True)
class Measured:
    """Milliseconds; None until there was one. `inference_ms` is of one message, however many items travelled in it:
    what waits in a queue are messages."""

    load_ms: float | None = None
    inference_ms: float | None = None
    messages: int = 0

    def loaded(self, took_ms: float) -> None:
        """The last load is the best guess of the next: it found the same disk and the same neighbours."""
        self.load_ms = took_ms

    def answered(self, took_ms: float) -> None:
        """A plain mean at first, so that a slow first answer weighs no more than the next; then a moving one."""
        self.messages = min(self.messages + 1, MEMORY)
        before = self.inference_ms or 0.0
        self.inference_ms = before + (took_ms - before) / self.messages
