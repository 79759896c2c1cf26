"""The calls of one model that wait to be sent: who travels together, and when; it sends nothing itself.

Times are seconds of one monotonic clock, given by who calls.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.adapters.providers.queue_message import batch_limit, packed_item
from orchestrator.adapters.providers.queue_parts import cut, joined
from orchestrator.core.errors import CallFailed
from orchestrator.core.types import Call, Reply
from registry.schema import Card, Task

COLLECT_S = 0.005  # how long a call may wait for others, and only while a batch of its model is under way
BATCH_BYTES = 1 << 20  # a batch is sent at once when its items are this large together
BATCH_S = 0.1  # a batch is cut where its inference would take longer: the next caller waits for it
FIRST_TOKENS = 2048  # per batch, until it is known how fast the model reads
LEAST_TOKENS, MOST_TOKENS = 128, 16384
LEAST_UNDER_WAY, MOST_UNDER_WAY = 2, 64  # batches: one in work, one waiting for the worker; more with more workers
LEAST_PATIENCE_S = 1.0  # a batch under way for longer than this, and than five of its like, may be lost: go on


@dataclass(eq=False, slots=True)
class Part:
    """What travels as one item. `batch` and `number` say where, once it was sent, and `held_s` how long it waited here
    before."""

    caller: Caller
    item: bytes
    tokens: int
    texts: int
    batch: str | None = None
    number: int = 0
    held_s: float = 0.0
    reply: Reply | None = None


@dataclass(eq=False, slots=True)
class Caller:
    """One call that waits. `deadline` is the unix second after which nobody listens; `pieces`, where it reads along,
    gets text as it is made and None after the last."""

    call: Call
    answered: asyncio.Future[Reply]
    deadline: float
    since: float = 0.0
    parts: list[Part] = field(default_factory=list)
    unsent: deque[Part] = field(default_factory=deque)
    pieces: asyncio.Queue[str | None] | None = None

    def hear(self, text: str) -> None:
        if self.pieces is not None and not self.answered.done():
            self.pieces.put_nowait(text)

    def take(self, part: Part, outcome: Reply | CallFailed) -> None:
        """The answer of one part: the first error is the caller's, the last reply makes the whole."""
        if self.answered.done():
            return
        if isinstance(outcome, CallFailed):
            self.fail(outcome)
            return
        waited_ms = outcome.timings_ms.get("queue_wait", 0.0) + part.held_s * 1e3
        part.reply = replace(outcome, timings_ms={**outcome.timings_ms, "queue_wait": waited_ms})
        replies = [each.reply for each in self.parts if each.reply is not None]
        if len(replies) == len(self.parts):
            self.answered.set_result(joined(self.call, replies, [each.texts for each in self.parts]))
            self._end()

    def fail(self, error: CallFailed) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)
            self._end()

    def close(self) -> None:
        """Nobody waits any more, whatever came of it."""
        if not self.answered.cancel() and not self.answered.cancelled():
            self.answered.exception()  # seen: the loop need not warn of it

    def _end(self) -> None:
        if self.pieces is not None:
            self.pieces.put_nowait(None)


class Line:
    """One model and task. Callers take turns, so that one with many parts delays nobody by all of them."""

    def __init__(self, card: Card, task: Task) -> None:
        self.model, self.task, self.queue = card.id, task, card.queue or ""
        self.under_way: dict[str, float] = {}
        self.timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self.due = 0.0
        self._text_tokens = card.max_sequence_tokens or card.context_tokens
        self._limit = batch_limit(task)
        self._turns: deque[Caller] = deque()
        self._waiting, self._bytes, self._tokens = 0, 0, 0
        self._since = 0.0
        self._most_tokens = FIRST_TOKENS
        self._most_under_way = LEAST_UNDER_WAY
        self._held = False
        self._tokens_per_s: float | None = None
        self._took_s = 0.0
        self._message_s = 0.0

    def join(self, caller: Caller, now: float) -> None:
        """Raises CallRefused for a text that cannot be sent; then nothing of it waits."""
        streamed = caller.pieces is not None
        parts = [
            Part(caller, packed_item(sized.call, streamed=streamed), sized.tokens, len(sized.call.texts))
            for sized in cut(caller.call, max(LEAST_TOKENS, self._most_tokens // 2), self._text_tokens)
        ]
        caller.parts, caller.unsent, caller.since = parts, deque(parts), now
        if not self._turns:
            self._since = now
        self._turns.append(caller)
        for part in parts:
            self._count(part, 1)

    @property
    def callers(self) -> Sequence[Caller]:
        """Those with something not sent yet."""
        return tuple(self._turns)

    def leave(self, caller: Caller) -> None:
        """What is not sent yet never will be."""
        if caller.unsent:
            self._turns.remove(caller)
        for part in caller.unsent:
            self._count(part, -1)
        caller.unsent.clear()

    def wait_s(self, now: float) -> float | None:
        """Seconds until the next batch should be sent; 0: now; None: nothing waits."""
        if not self._turns:
            return None
        if (until_free := self._until_free(now)) > 0:
            self._held = True
            return until_free
        if not self.under_way or self.is_full():
            return 0.0
        return max(0.0, self._since + COLLECT_S - now)

    def take(self, now: float) -> list[Part]:
        """The next batch: a part of each caller in turn, within the bounds; at least one part."""
        batch: list[Part] = []
        size = tokens = 0
        while self._turns and len(batch) < self._limit:
            part = self._turns[0].unsent[0]
            size, tokens = size + len(part.item), tokens + part.tokens
            if batch and (size > BATCH_BYTES or tokens > self._most_tokens):
                break
            caller = self._turns.popleft()
            caller.unsent.popleft()
            if caller.unsent:
                self._turns.append(caller)
            self._count(part, -1)
            part.held_s = now - caller.since
            batch.append(part)
        self._since = now
        return batch

    def held_s(self) -> float:
        """How long a worker will have to do with what waits here and is in no queue yet, as far as is known."""
        messages = max(self._waiting / self._limit, self._tokens / self._most_tokens)
        return math.ceil(messages) * self._message_s

    def learn(self, parts: Sequence[Part], took_s: float, timings_ms: Mapping[str, float]) -> None:
        """How fast this model reads decides how many tokens travel together; how long its messages wait, how many
        of them may be under way. `took_s` is the whole way, on this process's clock."""
        inference_s = timings_ms.get("inference", 0.0) / 1e3
        if not inference_s:
            return
        self._took_s = max(took_s, self._took_s * 0.9)
        self._message_s = inference_s if not self._message_s else 0.8 * self._message_s + 0.2 * inference_s
        waited_s = took_s - inference_s - timings_ms.get("load", 0.0) / 1e3
        self._bound_messages(waited_s, inference_s)
        tokens = sum(part.tokens for part in parts)
        if tokens:
            rate = tokens / inference_s
            self._tokens_per_s = rate if self._tokens_per_s is None else 0.8 * self._tokens_per_s + 0.2 * rate
            self._most_tokens = min(MOST_TOKENS, max(LEAST_TOKENS, int(self._tokens_per_s * BATCH_S)))

    def _bound_messages(self, waited_s: float, inference_s: float) -> None:
        """Calls were held back although a message hardly waits: there are more workers. It waits for more than the
        one before it: there are fewer."""
        if self._held and waited_s < max(COLLECT_S, inference_s / 2):
            self._most_under_way = min(MOST_UNDER_WAY, self._most_under_way + 1)
        elif waited_s > 1.5 * inference_s + COLLECT_S:
            self._most_under_way = max(LEAST_UNDER_WAY, self._most_under_way - 1)
        self._held = False

    def _until_free(self, now: float) -> float:
        """Seconds until one more batch may be under way; a batch overdue counts no longer: its worker may be gone."""
        patience_s = max(LEAST_PATIENCE_S, 5 * self._took_s)
        recent = sorted(sent for sent in self.under_way.values() if now - sent < patience_s)
        if len(recent) < self._most_under_way:
            return 0.0
        return recent[-self._most_under_way] + patience_s - now

    def is_full(self) -> bool:
        return self._waiting >= self._limit or self._bytes >= BATCH_BYTES or self._tokens >= self._most_tokens

    def _count(self, part: Part, sign: int) -> None:
        self._waiting += sign
        self._bytes += sign * len(part.item)
        self._tokens += sign * part.tokens
