"""Watches a certified contract on live labels and tells when they refute it; it never re-certifies and stores nothing.

A game against "the promise holds": wealth starts at 1, each labelled row multiplies what is staked by 1 − bet × margin
(margin = served − (1 − epsilon) × reference), and bets use earlier rows only (Waudby-Smith & Ramdas 2020, arXiv
2010.09686). While the mean margin, given the past, is not negative, wealth is a supermartingale and reaches 1/alpha at
any time whatever with probability at most alpha (Ville): one may look after every row, for ever. The bet follows a
fading mean, so that a drop after a long good time is seen; a reserve is paid out slowly into the stake, so that losses
of the good time do not ruin the game (a mixture over starting times).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2

from orchestrator.core.errors import InvalidInput

_MEMORY_ROWS = 200  # weight of the past in the fading means
_MOST_STAKED = 0.5  # bets never lose more than this share of the stake on one row
_FIRST_STAKE = 0.5
_RESERVE_ROWS = 500  # the pace at which the reserve is paid out
_TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """One contract under watch at level `alpha`. If rows are labelled by chance, `least_inclusion` is the smallest
    probability any row has of being labelled, and each `observe` says the row's own; rows without a label are not
    observed. `mean` and `square` are the fading means of the margins and their squares, scaled by least_inclusion."""

    epsilon: float
    alpha: float = 0.05
    least_inclusion: float = 1.0
    rows: int = 0
    staked: float = _FIRST_STAKE
    mean: float = 0.0
    square: float = 0.1
    peak: float = 1.0

    def __post_init__(self) -> None:
        for name, low in (("epsilon", -_TOLERANCE), ("alpha", 0.0), ("least_inclusion", 0.0)):
            value = getattr(self, name)
            if not low < value <= 1:
                raise InvalidInput(f"{name} is {value}; give a share from 0 to 1", field=name)

    @property
    def wealth(self) -> float:
        """Evidence against the promise: an e-value at any time."""
        return self.staked + _reserve(self.rows)

    @property
    def revoked(self) -> bool:
        """True from the first row at which wealth reached 1/alpha, for good."""
        return self.peak * self.alpha >= 1

    def observe(self, *, served: float, reference: float, inclusion: float = 1.0) -> Watch:
        """The watch after one labelled row: the quality served and the reference model's on the same query, in [0, 1];
        `inclusion` is the probability with which this row was chosen to be labelled."""
        value = self._scaled(served, reference, inclusion)
        bet = min(max(-self.mean, 0.0) / max(self.square, _TOLERANCE), _MOST_STAKED)
        paid_out = _reserve(self.rows) - _reserve(self.rows + 1)
        fade = 1 / min(self.rows + 2, _MEMORY_ROWS)
        after = replace(
            self,
            rows=self.rows + 1,
            staked=self.staked * (1 - bet * value) + paid_out,
            mean=self.mean + fade * (value - self.mean),
            square=self.square + fade * (value * value - self.square),
        )
        return replace(after, peak=max(self.peak, after.wealth))

    def _scaled(self, served: float, reference: float, inclusion: float) -> float:
        """margin × least_inclusion / inclusion: unbiased up to a constant, and never outside [-1, 1]."""
        for name, value in (("served", served), ("reference", reference)):
            if not 0 <= value <= 1:
                raise InvalidInput(f"{name} is {value}; scale qualities to [0, 1]", field=name)
        if not self.least_inclusion <= inclusion <= 1:
            text = f"inclusion is {inclusion}; the watch was started for {self.least_inclusion} to 1"
            raise InvalidInput(text, field="inclusion")
        return (served - (1 - self.epsilon) * reference) * self.least_inclusion / inclusion


def _reserve(rows: int) -> float:
    return (1 - _FIRST_STAKE) / (1 + log2(1 + rows / _RESERVE_ROWS))
