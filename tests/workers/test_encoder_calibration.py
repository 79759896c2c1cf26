"""Temperatures and thresholds: found where they are known, refused where there are none; the carried ones are true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.load import load
from registry.schema import Task
from workers import embeddings
from workers.encoder.calibration import calibration_error, fit_temperature, fit_threshold, sigmoid, softmax
from workers.encoder.similarity import CONFIDENCE, DESCRIPTION
from workers.modality import Batch, Machine

TOPICS = Path(__file__).parents[1] / "data" / "topics.json"


def drawn(temperature: float) -> tuple[Any, Any]:
    """20,000 rows of scores whose true class is drawn from softmax(scores / temperature)."""
    draw = np.random.default_rng(7)
    scores = draw.normal(size=(20_000, 4))
    shares = softmax(scores, temperature)
    return scores, (shares.cumsum(axis=1) < draw.random((20_000, 1))).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_at_the_right_temperature_confidence_is_accuracy_and_at_others_not() -> None:
    scores, labels = drawn(0.5)
    assert calibration_error(softmax(scores, 0.5), labels) < 0.01
    assert calibration_error(softmax(scores, 0.1), labels) > 0.15
    assert calibration_error(softmax(scores, 5.0), labels) > 0.25


def test_the_calibration_error_of_four_rows_by_hand() -> None:
    shares = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.35, 0.65]]
    # bin 0.9: one of two right, |0.5 − 0.9| × 2/4; bin 0.6: both right, |1 − 0.625| × 2/4
    assert calibration_error(shares, [0, 1, 1, 1]) == pytest.approx(0.2 + 0.1875)


def test_the_threshold_that_made_the_hits_is_found() -> None:
    draw = np.random.default_rng(3)
    scores = draw.random(50_000)
    hits = draw.random(50_000) < sigmoid((scores - 0.3) / 0.1)
    assert fit_threshold(scores, hits) == (pytest.approx(0.3, abs=0.01), pytest.approx(0.1, abs=0.01))


def test_shares_add_up_and_do_not_overflow() -> None:
    assert softmax([1e4, 0.0, -1e4]).tolist() == [1.0, 0.0, 0.0]
    assert sigmoid([-1e4, 0.0, 1e4]).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([[0.1, 0.2]], [2], "labels are classes 0 to 1; got 2 to 2"),
        ([0.1, 0.2], [0], r"got \(2,\) and \(1,\)"),
        (np.zeros((0, 2)), [], r"got \(0, 2\) and \(0,\)"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused(scores: Any, labels: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit_temperature(scores, labels)


def test_a_threshold_needs_both_kinds_and_some_doubt() -> None:
    with pytest.raises(ValueError, match="with both kinds of hits"):
        fit_threshold([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="every hit scores above every miss"):
        fit_threshold([0.1, 0.9], [False, True])


def test_the_confidence_of_minilm_is_the_one_fitted_on_the_labelled_sentences(tmp_path: Path) -> None:
    rows = json.loads(TOPICS.read_text(encoding="utf-8"))
    labels = sorted({row["label"] for row in rows})
    encoder, batch = (
        embeddings.load(load().get("minilm-l6-builtin"), Machine(models_dir=tmp_path)),
        Batch(task=Task.EMBED, items=()),
    )
    texts, _ = embeddings.embed(encoder, [row["text"] for row in rows], batch)
    classes, _ = embeddings.embed(encoder, [DESCRIPTION.format(label=label) for label in labels], batch)
    scores, truth = texts @ classes.T, np.array([labels.index(row["label"]) for row in rows])
    carried = CONFIDENCE["minilm-l6-builtin"]
    assert scores.shape == (96, 8)
    assert (scores.argmax(axis=1) == truth).mean() == pytest.approx(0.875)
    assert fit_temperature(scores, truth) == pytest.approx(carried.temperature, abs=1e-4)
    middle, spread = fit_threshold(scores, np.arange(8) == truth[:, None])
    assert (middle, spread) == (pytest.approx(carried.middle, abs=1e-4), pytest.approx(carried.spread, abs=1e-4))
    assert calibration_error(softmax(scores, carried.temperature), truth) < 0.05
    assert calibration_error(softmax(scores), truth) > 0.7, "without a temperature it says 13% where 88% are right"
