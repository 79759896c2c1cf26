"""How a choice among classes is told; it makes none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

Choice = dict[str, Any]
"""{"label", "score", "scores": {label: probability}}, the likeliest first."""


def chosen(labels: Sequence[str], shares: NDArray[Any]) -> Choice:
    """`shares`: a probability per label; of equal ones the label that was named first comes first."""
    order = sorted(range(len(labels)), key=lambda number: (-float(shares[number]), number))
    scores = {labels[number]: float(shares[number]) for number in order}
    best = labels[order[0]]
    return {"label": best, "score": scores[best], "scores": scores}
