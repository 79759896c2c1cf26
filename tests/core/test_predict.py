"""The artefact at run time: a tiny one written by hand, its arithmetic, and what must hold for any reading."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.errors import InvalidInput
from orchestrator.core.reading import lexical, predict

BUCKETS = 64
(PROVE,) = lexical.counts("prove", BUCKETS)


def artefact(**changed: Any) -> bytes:
    """Only "prove" counts: with it ease is −1.27, reach 0.5, gain 0.1; each vector dimension adds 0.25 to ease."""
    words = np.zeros((3, BUCKETS), dtype=np.int8)
    words[:, PROVE] = [-127, 50, 10]
    signals = len(lexical.SIGNALS)
    head = {
        "words": words,
        "steps": np.array([0.01, 0.01, 0.01], dtype=np.float32),
        "signals": np.zeros((3, signals), dtype=np.float32),
        "bias": np.zeros(3, dtype=np.float32),
    }
    facts = {"format": predict.FORMAT, "signals": list(lexical.SIGNALS), "version": "abc"} | changed
    file = io.BytesIO()
    np.savez(
        file,
        facts=np.array(json.dumps(facts)),
        weights=np.ones(BUCKETS, dtype=np.float16),
        mean=np.zeros(signals, dtype=np.float32),
        deviation=np.ones(signals, dtype=np.float32),
        full_vectors=np.array([[0.25] * 384, [0.0] * 384, [0.0] * 384], dtype=np.float16),
        **{f"{name}_{part}": value for name in ("fast", "full") for part, value in head.items()},
    )
    return file.getvalue()


def test_a_text_is_read_by_its_words_and_its_vector() -> None:
    router = predict.load(artefact())
    assert router.version == "abc"
    fast = router.read("prove")
    assert (fast.ease, fast.reach, fast.gain) == pytest.approx((-1.27, 0.5, 0.1))
    full = router.read("prove", [1.0] + [0.0] * 383)
    assert (full.ease, full.reach) == pytest.approx((-1.02, 0.5))


def test_an_average_query_is_answered_as_often_as_the_prior_says() -> None:
    average = predict.Reading(ease=0.0, reach=0.0)
    assert predict.p_adequate(average, predict.ability(0.7)) == pytest.approx(0.7)


def test_models_are_further_apart_where_reach_is_large() -> None:
    weak, strong = predict.ability(0.45), predict.ability(0.8)
    readings = [predict.Reading(ease=0.0, reach=reach) for reach in (-1.0, 0.0, 0.5)]
    gaps = [predict.p_adequate(each, strong) - predict.p_adequate(each, weak) for each in readings]
    assert gaps == pytest.approx([0.1847, 0.35, 0.4902], abs=1e-4)


def test_the_gain_is_the_gap_of_the_models_and_what_the_text_adds_to_it() -> None:
    reading = predict.Reading(ease=-1.0, reach=0.0, gain=0.1)
    weak, strong = predict.ability(0.45), predict.ability(0.8)
    assert predict.gain(reading, weak=weak, strong=strong) == pytest.approx(0.45)
    assert predict.gain(reading, weak=weak, strong=weak) == 0.0
    assert predict.gain(reading, weak=predict.ability(0.6), strong=predict.ability(0.65)) == pytest.approx(0.07)


def test_few_labels_move_an_ability_a_little_and_many_settle_it() -> None:
    average = predict.Reading(ease=0.0, reach=0.0)
    prior = predict.ability(0.5)
    assert predict.adapted(prior, []) == prior
    after_three = predict.adapted(prior, [(average, 1.0)] * 3)
    assert 0 < after_three < predict.ability(0.9)
    settled = predict.adapted(prior, [(average, 1.0)] * 900 + [(average, 0.0)] * 100)
    assert predict.p_adequate(average, settled) == pytest.approx(0.9, abs=0.005)


def test_easier_queries_are_not_held_in_a_models_favour() -> None:
    easy, prior = predict.Reading(ease=2.0, reach=0.0), predict.ability(0.5)
    expected = predict.p_adequate(easy, prior)
    assert predict.adapted(prior, [(easy, expected)] * 50) == pytest.approx(prior, abs=1e-6)


def test_an_artefact_of_other_signals_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"run scripts/train-router again"):
        predict.load(artefact(signals=["characters"]))
    with pytest.raises(InvalidInput, match="cannot be read"):
        predict.load(b"no artefact")
    with pytest.raises(InvalidInput, match=r"1\.2 is not"):
        predict.ability(1.2)


NUMBERS = st.floats(-6, 6, allow_nan=False)


@settings(deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_more_ability_never_lowers_the_probability(ease: float, reach: float, one: float, other: float) -> None:
    reading = predict.Reading(ease=ease, reach=reach)
    low, high = sorted((one, other))
    assert 0 <= predict.p_adequate(reading, low) <= predict.p_adequate(reading, high) <= 1
    assert math.isfinite(predict.adapted(low, [(reading, 1.0), (reading, 0.0)]))


def test_of_a_text_longer_than_any_it_was_trained_on_the_beginning_and_the_end_are_read() -> None:
    predictor = predict.load(artefact())
    long = "x " * predict.MOST_CHARACTERS
    assert predictor.read(f"prove {long}").ease == predictor.read(f"{long} prove").ease < 0
    assert predictor.read(f"{long} prove {long}").ease == 0.0
