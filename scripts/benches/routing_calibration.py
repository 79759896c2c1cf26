"""Recalibrates out-of-fold predictions, each row by a map that its own fold did not help to fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from routing_sets import Floats, Table
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression

from orchestrator.core.replay import evaluate

FOLDS, SEED, BINS = 5, 77, 15
LEAST_ROWS = BINS * BINS  # fewer fill no 15 bins worth the name
Fit = Callable[[Floats, Floats, Floats], Floats]


def linear(known: Floats, happened: Floats, asked: Floats) -> Floats:
    """a + b × prediction: Platt's two numbers for a prediction that is no probability."""
    return np.asarray(LinearRegression().fit(known[:, None], happened).predict(asked[:, None]))


def platt(known: Floats, happened: Floats, asked: Floats) -> Floats:
    """Platt 1999 on the log-odds of the prediction; a quality between 0 and 1 counts as both outcomes, weighed."""
    odds, new = (np.log(p / (1 - p))[:, None] for p in (np.clip(each, 0.01, 0.99) for each in (known, asked)))
    outcome = np.repeat([1, 0], len(happened))
    weight = np.concatenate([happened, 1 - happened])
    model = LogisticRegression(C=1e6).fit(np.vstack([odds, odds]), outcome, sample_weight=weight)
    return np.asarray(model.predict_proba(new)[:, 1])


def isotonic(known: Floats, happened: Floats, asked: Floats) -> Floats:
    """The best rising map (Zadrozny & Elkan 2002)."""
    return np.asarray(IsotonicRegression(out_of_bounds="clip").fit(known, happened).predict(asked))


def nested(fit: Fit, predicted: Floats, happened: Floats, split_keys: Sequence[str]) -> Floats:
    """Every row mapped by what the other folds' out-of-fold predictions and outcomes fit."""
    keys, at = np.unique(split_keys, return_inverse=True)
    part = (np.random.default_rng(SEED).permutation(len(keys)) % FOLDS)[at]
    mapped = np.empty(len(predicted))
    for fold in range(FOLDS):
        known, asked = part != fold, part == fold
        mapped[asked] = fit(predicted[known], happened[known], predicted[asked])
    return mapped


def recalibrated(table: Table, gain: Floats, weak: Floats) -> dict[str, dict[str, Floats]]:
    """Predictions before and after, by what is predicted (`gain`, `weak`) and by map; all on a scale to 1."""
    assert table.weak is not None
    return {
        "gain": {
            "raw": gain,
            "linear": nested(linear, gain, table.gain, table.split_keys),
            "isotonic": nested(isotonic, gain, table.gain, table.split_keys),
        },
        "weak": {
            "raw": weak,
            "platt": nested(platt, weak, table.weak, table.split_keys),
            "isotonic": nested(isotonic, weak, table.weak, table.split_keys),
        },
    }


def happened(table: Table, what: str) -> Floats:
    found = table.gain if what == "gain" else table.weak
    assert found is not None
    return found


def errors(tables: Mapping[str, Table], maps: Mapping[str, Mapping[str, Mapping[str, Floats]]]) -> dict[str, Any]:
    """Debiased expected calibration error (15 bins of equal mass) by what, by map, by set and pooled over all sets."""
    told: dict[str, Any] = {}
    for what, kinds in next(iter(maps.values())).items():
        told[what] = {}
        for kind in kinds:
            each = {
                name: evaluate.calibration_error(maps[name][what][kind], happened(tables[name], what), BINS)
                for name in maps
            }
            pooled = np.concatenate([maps[name][what][kind] for name in maps])
            outcomes = np.concatenate([happened(tables[name], what) for name in maps])
            told[what][kind] = {"pooled": evaluate.calibration_error(pooled, outcomes, BINS)} | each
    return told


def reliability(predicted: Floats, outcome: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean prediction, mean outcome and its standard error, by bin of equal mass."""
    bins = np.array_split(np.argsort(predicted, kind="stable"), BINS)
    return (
        np.array([predicted[rows].mean() for rows in bins]),
        np.array([outcome[rows].mean() for rows in bins]),
        np.array([outcome[rows].std() / np.sqrt(len(rows)) for rows in bins]),
    )
