"""Several answers in one forward pass of transformers: each row chooses, says and ends for itself; it loads nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import torch

from workers.generate.spoken import Spoken, TokenBytes
from workers.generate.writer import Job, Written, left_alone, too_late
from workers.modality import Batch, WorkerError

LEAST_LOGPROB = -20.0  # one token that was given no chance must not outweigh all others


class EverybodyLeft(Exception):
    """No row is waited for any more: raised inside a forward pass, to end it between two layers."""


@dataclass(kw_only=True, slots=True)
class Row:
    """One answer being written."""

    job: Job
    spoken: Spoken
    generator: torch.Generator | None
    """None: greedy."""
    mask: Any = None
    """The constraint's logits processor."""
    written: int = 0
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    ended: WorkerError | None = None

    @property
    def is_over(self) -> bool:
        return self.finish_reason is not None or self.ended is not None

    def outcome(self) -> Written | WorkerError:
        if self.ended is not None:
            return self.ended
        return Written(
            text=self.spoken.text,
            finish_reason=self.finish_reason or "length",
            output_tokens=self.written,
            mean_logprob=fsum(self.logprobs) / len(self.logprobs) if self.logprobs else None,
        )


class Rows:
    """What `generate` asks at every token: `choose` stands where its logits processors stand, `look` where its
    stopping criteria do. It is left to pick the only token that is not excluded."""

    def __init__(self, rows: Sequence[Row], batch: Batch, token_bytes: TokenBytes, ends: frozenset[int]) -> None:
        self._rows, self._batch, self._bytes, self._ends = rows, batch, token_bytes, ends
        self._chosen: list[int] = [0] * len(rows)

    def choose(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for number, row in enumerate(self._rows):
            if row.is_over:
                continue
            try:
                self._chosen[number] = _chosen(row, input_ids[number : number + 1], scores[number : number + 1])
            except WorkerError as error:  # of its constraint
                row.ended = error
        forced = torch.full_like(scores, float("-inf"))
        forced[torch.arange(len(self._rows)), torch.tensor(self._chosen)] = 0.0
        return forced

    def look(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        """Which rows are over, after saying what each has to say."""
        for row, token in zip(self._rows, self._chosen, strict=True):
            if not row.is_over:
                self._take(row, token)
        self.look_up()
        return torch.tensor([row.is_over for row in self._rows], device=input_ids.device)

    def _take(self, row: Row, token: int) -> None:
        row.written += 1
        piece = ""
        if token in self._ends:
            row.finish_reason = "stop"
        else:
            piece = row.spoken.add_bytes(self._bytes(token))
            if row.spoken.stopped:
                row.finish_reason = "stop"
            elif row.written >= row.job.max_tokens:
                row.finish_reason = "length"
        if row.finish_reason:
            piece += row.spoken.rest()
        if piece and row.job.asked.stream:
            self._batch.say(row.job.number, piece)

    def look_up(self) -> None:
        """Ends rows that are too late or not waited for."""
        late = time.monotonic() > self._batch.deadline
        for row in self._rows:
            if not row.is_over and (late or self._batch.stopped(row.job.number)):
                row.ended = too_late() if late else left_alone()

    def check(self) -> None:
        """Between two layers: raises EverybodyLeft where the pass is for nobody."""
        self.look_up()
        if all(row.is_over for row in self._rows):
            raise EverybodyLeft


def _chosen(row: Row, input_ids: torch.Tensor, scores: torch.Tensor) -> int:
    """The next token, by llama.cpp's order: grammar, top_k, top_p, temperature. `scores` is (1, vocabulary)."""
    told = torch.log_softmax(scores[0].float(), dim=-1)
    allowed = (row.mask(input_ids, scores) if row.mask is not None else scores)[0].float()
    token = int(allowed.argmax()) if row.generator is None else _drawn(row, allowed)
    row.logprobs.append(max(LEAST_LOGPROB, float(told[token])))
    return token


def _drawn(row: Row, allowed: torch.Tensor) -> int:
    asked = row.job.asked
    values, order = allowed.sort(descending=True)
    if asked.top_k:
        values, order = values[: asked.top_k], order[: asked.top_k]
    if asked.top_p < 1.0:
        shares = values.softmax(dim=-1)
        kept = int((shares.cumsum(dim=-1) - shares < asked.top_p).sum())
        values, order = values[: max(1, kept)], order[: max(1, kept)]
    drawn = torch.multinomial((values / asked.temperature).softmax(dim=-1).cpu(), 1, generator=row.generator)
    return int(order[int(drawn)])
