"""One answer per item whatever a modality raises: alone, in halves, or more safely; it loads and drops nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workers.modality import Batch, Code, Item, Modality, Result, WorkerError

log = logging.getLogger(__name__)

LONGEST_TOLD = 500  # characters of a library's error: some quote their whole input

Answer = Result | WorkerError


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """A loaded model at work. `relieve()` frees memory and says whether it could: it is asked when an item alone has
    found no memory."""

    modality: Modality
    loaded: Any
    relieve: Callable[[], bool]
    _said: set[int] = field(default_factory=set)

    def answers(self, batch: Batch, most: int) -> list[Answer]:
        """One result or error per item, in order, `most` items at a time."""
        heard = replace(batch, say=self._hearing(batch))
        return [answer for part in _parts(heard, most) for answer in self._part(part)]

    def _part(self, batch: Batch) -> list[Answer]:
        """Where the batch as a whole fails, each item runs alone, so that one bad item spoils no other; where memory
        ran out, halves do."""
        try:
            return [self._mended(batch, number, each) for number, each in enumerate(self._results(batch))]
        except BaseException as error:  # SystemExit too: one answer per item, whatever a library raised
            if isinstance(error, WorkerError) and error.code is Code.TIMEOUT:
                return [error] * len(batch.items)
            if len(batch.items) == 1:
                return [self._mended(batch, 0, told(error), out_of_memory=isinstance(error, MemoryError))]
            failed = error
        most = (len(batch.items) + 1) // 2 if isinstance(failed, MemoryError) else 1
        return [answer for part in _parts(batch, most) for answer in self._again(part, failed)]

    def _again(self, part: Batch, error: BaseException) -> list[Answer]:
        """What has been read by its caller in part is not said a second time: it gets the error."""
        if not any(self._has_said(part, number) for number in range(len(part.items))):
            return self._part(part)
        if len(part.items) == 1:
            return [told(error)]
        return [answer for single in _parts(part, 1) for answer in self._again(single, error)]

    def _results(self, batch: Batch) -> Sequence[Answer]:
        results = list(self.modality.infer(self.loaded, batch))
        if len(results) != len(batch.items):
            raise ValueError(f"{len(results)} results for {len(batch.items)} items")
        return results

    def _mended(self, batch: Batch, number: int, answer: Answer, out_of_memory: bool = False) -> Answer:
        """An item that failed is run once more: with room made for it, or as the modality's `safer(item)` puts it.
        Not when its caller has already read a part of the answer."""
        if not isinstance(answer, WorkerError) or self._has_said(batch, number):
            return answer
        item = batch.items[number]
        if out_of_memory:
            return self._once_more(batch, number, item, answer) if self.relieve() else answer
        if answer.code is Code.INFERENCE_FAILED and (safer := self._safer(item)):
            return self._once_more(batch, number, safer, answer)
        return answer

    def _safer(self, item: Item) -> Item | None:
        safer: Callable[[Item], Item | None] | None = getattr(self.modality, "safer", None)
        try:
            return safer(item) if safer else None
        except Exception:  # the item has its error already
            log.exception("an item could not be made safer")
            return None

    def _once_more(self, batch: Batch, number: int, item: Item, before: WorkerError) -> Answer:
        log.info("an item failed and is tried once more: %s", before.message)
        try:
            return self._results(replace(batch.alone(number), items=(item,)))[0]
        except BaseException as error:  # as above
            return told(error)

    def _hearing(self, batch: Batch) -> Callable[[int, str], None]:
        def say(number: int, text: str) -> None:
            self._said.add(id(batch.items[number]))
            batch.say(number, text)

        return say

    def _has_said(self, batch: Batch, number: int) -> bool:
        return id(batch.items[number]) in self._said


def told(error: BaseException) -> WorkerError:
    """What the caller reads of whatever was raised."""
    if isinstance(error, WorkerError):
        return error
    if isinstance(error, MemoryError):
        return WorkerError(Code.MEMORY_EXCEEDED, "no memory left for this input; send less at once")
    log.error("inference failed", exc_info=error)
    return WorkerError(Code.INFERENCE_FAILED, f"inference failed: {type(error).__name__}: {error}"[:LONGEST_TOLD])


def _parts(batch: Batch, most: int) -> Iterator[Batch]:
    """The batch in pieces of at most `most` items, which say and stop as the items they hold."""
    if len(batch.items) <= most:
        yield batch
        return
    for start in range(0, len(batch.items), most):
        yield _piece(batch, start, start + most)


def _piece(batch: Batch, start: int, stop: int) -> Batch:
    return replace(
        batch,
        items=batch.items[start:stop],
        say=lambda number, text: batch.say(start + number, text),
        stopped=lambda number: batch.stopped(start + number),
    )
