"""Says how well graded answers are told apart and how true the grades are, per set and evidence. Trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from routing_sets import Floats

from orchestrator.core.replay import evaluate

Graded = Mapping[str, Mapping[str, Floats]]
"""Evidence → set → grade of each answer; NaN where the evidence is missing."""
ACCEPT_AT = 0.5


def figures_of(held: Mapping[str, Graded], labels: Mapping[str, Floats]) -> dict[str, Any]:
    """Regime → evidence → AUROC of each set, their mean, and the debiased calibration error of all rows pooled."""
    return {
        regime: {evidence: _figure(by_set, labels) for evidence, by_set in graded.items()}
        for regime, graded in held.items()
    }


def _figure(graded: Mapping[str, Floats], labels: Mapping[str, Floats]) -> dict[str, Any]:
    known = {name: np.isfinite(grades) for name, grades in graded.items() if np.isfinite(grades).any()}
    auroc, error = {}, {}
    for name, rows in known.items():
        auroc[name] = round(evaluate.auroc(labels[name][rows] > 0.5, graded[name][rows]), 4)
        error[name] = round(evaluate.calibration_error(graded[name][rows], labels[name][rows]), 4)
    pooled = np.concatenate([graded[name][rows] for name, rows in known.items()])
    truth = np.concatenate([labels[name][rows] for name, rows in known.items()])
    return {
        "n": len(pooled),
        "auroc_mean": round(float(np.mean(list(auroc.values()))), 4),
        "auroc": auroc,
        "calibration_error_pooled": round(evaluate.calibration_error(pooled, truth), 4),
        "calibration_error": error,
    }


def rates_of(graded: Graded, labels: Mapping[str, Floats]) -> dict[str, float]:
    """P(accepted | adequate) and P(accepted | inadequate) at 0.5 out of fold, the base unknown as it is by default:
    means over the sets, of the text alone and with other models' final answers."""
    found = {}
    for word, evidence in (("accept", "text, base unknown"), ("agreed", "agreement, base unknown")):
        right, wrong = [], []
        for name, grades in graded[evidence].items():
            rows = np.isfinite(grades)
            if rows.any():
                accepted, adequate = grades[rows] >= ACCEPT_AT, labels[name][rows] > 0.5
                right.append(accepted[adequate].mean())
                wrong.append(accepted[~adequate].mean())
        found |= {f"{word}_right": round(float(np.mean(right)), 4), f"{word}_wrong": round(float(np.mean(wrong)), 4)}
    return found
