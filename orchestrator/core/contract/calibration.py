"""The labelled rows that calibrate a contract: checked, weighed, in an order of play; it certifies nothing."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Columns of equal length; qualities in [0, 1]. `weight` is least_inclusion / inclusion, in (0, 1]."""

    scores: Floats
    weak: Floats
    reference: Floats
    weight: Floats

    @property
    def columns(self) -> tuple[Floats, ...]:
        return self.scores, self.weak, self.reference, self.weight

    def take(self, order: NDArray[np.intp]) -> Sample:
        scores, weak, reference, weight = (values[order] for values in self.columns)
        return Sample(scores=scores, weak=weak, reference=reference, weight=weight)


def sample_of(
    scores: ArrayLike, weak: ArrayLike, reference: ArrayLike, inclusion: ArrayLike | None, least: float
) -> Sample:
    """The rows, checked, in sorted order. `inclusion` None: all rows had the same chance. Raises InvalidInput."""
    found_scores = column("scores", scores)
    chance = column("inclusion", np.ones(len(found_scores)) if inclusion is None else inclusion)
    found = Sample(
        scores=found_scores,
        weak=column("weak", weak),
        reference=column("reference", reference),
        weight=(least if inclusion is not None else 1.0) / np.maximum(chance, 1e-12),
    )
    sizes = tuple(len(values) for values in found.columns)
    if len(set(sizes)) > 1:
        raise InvalidInput(f"scores, weak, reference, inclusion have {sizes} rows; give one of each", field="scores")
    _check_range("weak", found.weak, 0.0)
    _check_range("reference", found.reference, 0.0)
    _check_range("inclusion", chance, least if inclusion is not None else 1.0)
    return _ordered(found)


def _check_range(name: str, values: Floats, low: float) -> None:
    if np.any((values < low) | (values > 1)):
        raise InvalidInput(f"{name} holds {values.min()} to {values.max()}; it must lie in [{low}, 1]", field=name)


def column(name: str, given: ArrayLike) -> Floats:
    """One finite number per row, or InvalidInput."""
    values = np.asarray(given, dtype=np.float64) + 0.0  # −0.0 and 0.0 are one score
    if values.ndim != 1 or not len(values) or not np.all(np.isfinite(values)):
        raise InvalidInput(f"{name} has shape {values.shape}; give one row or more of finite numbers", field=name)
    return values


def _ordered(sample: Sample) -> Sample:
    return sample.take(np.lexsort(sample.columns[::-1]))


def shuffled(ordered: Sample) -> tuple[Sample, float]:
    """The rows in an order that depends on which rows there are, not on how they were given; and a uniform draw in
    (0, 1]. Both are as good as random and the same each time: there is no seed to try until one certifies."""
    digest = blake2b(digest_size=16)
    for values in ordered.columns:
        digest.update(values.tobytes())
    dice = np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "little")))
    draw = 1.0 - float(dice.random())
    return ordered.take(dice.permutation(len(ordered.scores))), draw


def observed(ordered: Sample, epsilon: float) -> tuple[Floats, Floats, Floats]:
    """For each threshold that parts these rows: share sent to the weak model, mean margin, mean squared margin."""
    weight = ordered.weight / ordered.weight.mean()
    kept = weight * epsilon * ordered.reference
    sent = weight * (ordered.weak - (1 - epsilon) * ordered.reference)
    n, ends = len(kept), np.append(np.flatnonzero(np.diff(ordered.scores)), len(kept) - 1)  # equal scores go together
    margin = (kept.sum() + np.cumsum(sent - kept)[ends]) / n
    second = (np.square(kept).sum() + np.cumsum(np.square(sent) - np.square(kept))[ends]) / n
    return np.cumsum(weight)[ends] / n, margin, second
