"""Applies a trained artefact: P(adequate) of any model for a text, and the gain of one over another. Learns nothing.

A model is one number, its ability: the log-odds that its answer to an average query is adequate. A query is two: how
easy it is for everyone, and its reach, by how much ability matters more (or less) on it than usual:

    logit P(adequate) = ability + ease + reach × (ability − CENTRE)

a two-parameter item-response model (Birnbaum 1968) whose item parameters are read off the text, so that models which
were never asked the query, or did not exist when the artefact was trained, can be placed on it.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.core.errors import InvalidInput
from orchestrator.core.reading import lexical

FORMAT = 1
CENTRE = 0.4  # log-odds of 0.6: the mean ability of the models the artefacts are trained on
LEAST_PRIOR, MOST_PRIOR = 0.02, 0.98  # a quality prior of 0 or 1 would be a certainty nobody has
MOST_CHARACTERS = 20_000  # the longest query of the nine training sets has 10,003
_PRIOR_DEVIATION = 1.0  # of a card's true ability around its quality prior, in log-odds
_NEWTON_STEPS = 8
_TRAINED_GAP = 0.25  # mean quality gap of the pairs the gain was trained on; smaller gaps move less
_CLIP = 4.0  # deviations a signal may be away from its training mean

Floats = NDArray[np.float32]
Bytes8 = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the artefact says of one text: ease and reach in log-odds; `gain` is how much more than usual a strong
    model adds to a weak one here, in quality."""

    ease: float
    reach: float
    gain: float = 0.0


_AVERAGE = Reading(ease=0.0, reach=0.0)


@dataclass(frozen=True, slots=True)
class Head:
    """Weights of ease, reach and gain (3 rows): per word bucket in int8 steps, per signal, per vector dimension."""

    words: Bytes8
    steps: Floats
    signals: Floats
    vectors: Floats | None
    bias: Floats


@dataclass(frozen=True, slots=True)
class Predictor:
    """A trained artefact, ready to read texts. Make it with `load`."""

    version: str
    weights: Floats
    mean: Floats
    deviation: Floats
    fast: Head
    full: Head
    grid: NDArray[np.float64] | None = None
    """Quantiles of the gains of the texts it was trained on: thresholds fixed without the rows that certify them."""

    def read(self, text: str, vector: ArrayLike | None = None) -> Reading:
        """The text's ease and reach. `vector` is its MiniLM embedding (384, unit length) where there is one;
        without it a head trained without vectors answers, in well under a millisecond."""
        head = self.fast if vector is None else self.full
        text = _sample(text)
        buckets, values = words_of(text, self)
        total = head.bias + head.signals @ signals_of(text, self)
        total = total + head.steps * (head.words[:, buckets].astype(np.float32) @ values)
        if vector is not None and head.vectors is not None:
            total = total + head.vectors @ np.asarray(vector, dtype=np.float32)
        return Reading(ease=float(total[0]), reach=float(total[1]), gain=float(total[2]))


def _sample(text: str) -> str:
    """Of a text longer than any it was trained on, its beginning and its end: an ask stands at either, and reading
    nine megabytes would stop every other request for eight seconds."""
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]}\n{text[-half:]}"


def words_of(text: str, predictor: Predictor) -> tuple[NDArray[np.intp], Floats]:
    """The text's word buckets and their weights, which together have length 1 (or 0 where no word is known)."""
    found = lexical.counts(text, len(predictor.weights))
    buckets = np.fromiter(found, dtype=np.intp, count=len(found))
    values = np.fromiter(found.values(), dtype=np.float32, count=len(found)) * predictor.weights[buckets]
    return buckets, values / (float(np.sqrt((values * values).sum())) or 1.0)


def signals_of(text: str, predictor: Predictor) -> Floats:
    """The text's signals in deviations from their training means."""
    signals = (np.array(lexical.signals(text), dtype=np.float32) - predictor.mean) / predictor.deviation
    return np.asarray(np.minimum(np.maximum(signals, -_CLIP), _CLIP))  # np.clip costs three times as much on so few


def ability(quality_prior: float) -> float:
    """Log-odds of a card's quality prior (its share of adequate answers to average queries)."""
    if not 0 <= quality_prior <= 1:
        raise InvalidInput(f"a quality prior is a share in [0, 1]; {quality_prior} is not: correct the card")
    share = min(MOST_PRIOR, max(LEAST_PRIOR, quality_prior))
    return math.log(share / (1 - share))


def p_adequate(reading: Reading, ability: float) -> float:
    """Probability that a model of this ability answers this query adequately. Never falls as ability rises."""
    return share(CENTRE + reading.ease + _slope(reading) * (ability - CENTRE))


def gain(reading: Reading, *, weak: float, strong: float) -> float:
    """Expected quality of the model of ability `strong` less that of ability `weak`: the score a router orders by.

    Their gap on an average query, plus what this text adds to or takes from it; nothing where they are equally able.
    """
    gap = p_adequate(_AVERAGE, strong) - p_adequate(_AVERAGE, weak)
    return max(-1.0, min(1.0, gap + reading.gain * min(1.0, gap / _TRAINED_GAP)))


def _slope(reading: Reading) -> float:
    """How much ability matters here. Text unlike the training sets' can read as if it did not matter, or as if it
    turned round; that is no evidence, so half and two and a half of the usual slope are the bounds."""
    return 1 + max(-0.5, min(1.5, reading.reach))


def adapted(prior: float, labels: Sequence[tuple[Reading, float]]) -> float:
    """The ability of a model after outcomes in [0, 1] of queries read by the artefact."""
    terms = [(_slope(reading), CENTRE + reading.ease - _slope(reading) * CENTRE, y) for reading, y in labels]
    return most_probable_ability(prior, terms)


def most_probable_ability(prior: float, outcomes: Sequence[tuple[float, float, float]]) -> float:
    """By Newton's steps, with a normal prior of deviation 1 (log-odds) around `prior`; each outcome in [0, 1] stands
    behind the (slope, offset) of its log-odds: slope × ability + offset. No outcomes give the prior; few move it a
    little."""
    found = prior
    for _ in range(_NEWTON_STEPS if outcomes else 0):
        gradient, curvature = (prior - found) / _PRIOR_DEVIATION**2, 1 / _PRIOR_DEVIATION**2
        for slope, offset, outcome in outcomes:
            p = share(slope * found + offset)
            gradient += slope * (outcome - p)
            curvature += slope**2 * p * (1 - p)
        found += max(-1.0, min(1.0, gradient / curvature))
    return found


def share(log_odds: float) -> float:
    """The probability of these log-odds; beyond ±30 it is as good as sure."""
    return 1 / (1 + math.exp(-min(30.0, max(-30.0, log_odds))))


def load(data: bytes) -> Predictor:
    """The predictor of an artefact's bytes (an .npz written by scripts/train-router). Raises InvalidInput."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
            facts = json.loads(str(arrays["facts"]))
    except (ValueError, KeyError, OSError) as error:
        raise InvalidInput(f"the routing artefact cannot be read ({error}): run scripts/train-router again") from error
    if facts["format"] != FORMAT or tuple(facts["signals"]) != lexical.SIGNALS:
        raise InvalidInput(
            f"the routing artefact has format {facts['format']} and {len(facts['signals'])} signals; this one reads "
            f"format {FORMAT} with {len(lexical.SIGNALS)}: run scripts/train-router again"
        )
    return Predictor(
        version=facts["version"],
        weights=arrays["weights"].astype(np.float32),
        mean=arrays["mean"],
        deviation=arrays["deviation"],
        fast=_head(arrays, "fast"),
        full=_head(arrays, "full"),
        grid=np.asarray(arrays["grid"], dtype=np.float64) if "grid" in arrays else None,
    )


def _head(arrays: dict[str, NDArray[np.generic]], name: str) -> Head:
    def of(part: str) -> Floats:
        return np.asarray(arrays[f"{name}_{part}"], dtype=np.float32)

    return Head(
        words=np.asarray(arrays[f"{name}_words"], dtype=np.int8),
        steps=of("steps"),
        signals=of("signals"),
        vectors=of("vectors") if f"{name}_vectors" in arrays else None,
        bias=of("bias"),
    )
