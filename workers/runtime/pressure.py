"""How many items of a model may run at once, after what running them did to memory; it measures nothing."""

from __future__ import annotations

from dataclasses import dataclass

UNBOUNDED = 1 << 30
CALM_BELOW = 0.8  # of the budget: so far below it a batch of twice the size is worth a try
CALM_BATCHES = 10


@dataclass(slots=True)
class _Bound:
    most: int
    calm: int = 0


class Pressure:
    """A batch that takes this process over `budget_bytes` halves the next ones of its model; ten calm ones double them
    again."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._bounds: dict[str, _Bound] = {}

    def most(self, model: str) -> int:
        bound = self._bounds.get(model)
        return bound.most if bound else UNBOUNDED

    def seen(self, model: str, items: int, peak_bytes: int) -> bool:
        """After a batch of so many items; True when its memory was too much although it cannot be halved."""
        ran = min(items, self.most(model))
        if peak_bytes > self._budget_bytes:
            self._bounds[model] = _Bound(max(1, ran // 2))
            return ran == 1
        if peak_bytes < CALM_BELOW * self._budget_bytes and (bound := self._bounds.get(model)) and ran == bound.most:
            self._calmed(model, bound)
        return False

    def _calmed(self, model: str, bound: _Bound) -> None:
        bound.calm += 1
        if bound.calm >= CALM_BATCHES:
            self._bounds[model] = _Bound(bound.most * 2)
