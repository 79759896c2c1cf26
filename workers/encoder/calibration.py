"""Makes scores mean what they say: the temperature of a softmax, and how far off it is; pure numpy, no model.

C. Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]
BINS = 10
_COLDEST, _HOTTEST = 1e-3, 1e3  # wider than any score needs; the search halves this range in its logarithm


def softmax(scores: ArrayLike, temperature: float = 1.0) -> Doubles:
    """Over the last axis; each row adds up to 1."""
    scaled = np.asarray(scores, dtype=np.float64) / temperature
    grown = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def sigmoid(scores: ArrayLike) -> Doubles:
    """Without overflow at either end."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(scores, dtype=np.float64))))


def fit_temperature(scores: ArrayLike, labels: ArrayLike) -> float:
    """The temperature at which softmax(scores / T) gives the true labels the highest likelihood.

    scores: (n, classes); labels: (n,), the index of the true class. The log-likelihood has one peak in 1/T, so
    a golden-section search in log T finds it. Raises ValueError for shapes or labels that do not fit.
    """
    given, truth = _checked(scores, labels)
    low, high = np.log(_COLDEST), np.log(_HOTTEST)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(given, truth, np.exp(left)) < _loss(given, truth, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2.0))


def fit_threshold(scores: ArrayLike, hits: ArrayLike) -> tuple[float, float]:
    """(middle, spread) with which sigmoid((score − middle) / spread) gives the hits the highest likelihood.

    Both (n,); hits are true or false. Newton's method on the two weights of a logistic regression; it needs
    scores of hits and of misses that overlap. Raises ValueError otherwise.
    """
    given, truth = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(hits, dtype=bool).ravel()
    if given.shape != truth.shape or given[truth].size == 0 or given[~truth].size == 0:
        raise ValueError(f"scores and hits are (n,) with both kinds of hits; got {given.shape} and {truth.shape}")
    if given[truth].min() > given[~truth].max():
        raise ValueError("every hit scores above every miss: any spread fits, give labelled texts that are harder")
    inputs, weights = np.stack([given, np.ones_like(given)], axis=1), np.zeros(2)
    for _ in range(100):
        share = sigmoid(inputs @ weights)
        slope = inputs.T @ (share - truth)
        weights -= np.linalg.solve((inputs.T * (share * (1 - share))) @ inputs + 1e-12 * np.eye(2), slope)
        if np.abs(slope).max() < 1e-9:
            break
    return float(-weights[1] / weights[0]), float(1 / weights[0])


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """The expected calibration error: |accuracy − mean confidence| per bin of confidence, weighted by its rows."""
    given, truth = _checked(probabilities, labels)
    confidence, right = given.max(axis=1), given.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [place == number for number in range(bins) if (place == number).any()]
    return float(sum(each.mean() * abs(right[each].mean() - confidence[each].mean()) for each in filled))


def _loss(scores: Doubles, truth: NDArray[np.int64], temperature: float) -> float:
    scaled = scores / temperature
    top = scaled.max(axis=1)
    total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float((total - scaled[np.arange(len(truth)), truth]).mean())


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[Doubles, NDArray[np.int64]]:
    given, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if given.ndim != 2 or truth.shape != given.shape[:1] or not truth.size:
        raise ValueError(f"scores are (n, classes) and labels (n,), n ≥ 1; got {given.shape} and {truth.shape}")
    if truth.min() < 0 or truth.max() >= given.shape[1]:
        raise ValueError(f"labels are classes 0 to {given.shape[1] - 1}; got {truth.min()} to {truth.max()}")
    return given, truth
