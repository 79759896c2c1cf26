"""Zero-shot classes by MiniLM's similarity on labelled sentences: accuracy, and whether its confidence is true.

Fits the temperature that workers/encoder/similarity.py carries, and measures it on sentences it was not
fitted on: halves drawn twenty times. No weights are made up; with other weights nothing here holds."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from registry.load import load
from registry.schema import Task
from workers import embeddings
from workers.encoder.calibration import calibration_error, fit_temperature, fit_threshold, softmax
from workers.encoder.similarity import CONFIDENCE, DESCRIPTION
from workers.modality import Batch, Machine

MODEL = "minilm-l6-builtin"
TEXTS = Path(__file__).parents[2] / "tests" / "data" / "topics.json"
DRAWS = 20
MOST_ERROR = 0.10  # of the held-out halves; 48 sentences in ten bins cannot tell much less from none


def cosines() -> tuple[Any, Any]:
    """(texts, classes) and the true class of each text."""
    rows = json.loads(TEXTS.read_text(encoding="utf-8"))
    labels = sorted({row["label"] for row in rows})
    batch = Batch(task=Task.EMBED, items=())
    with tempfile.TemporaryDirectory() as folder:
        encoder = embeddings.load(load().get(MODEL), Machine(models_dir=Path(folder)))
        texts, _ = embeddings.embed(encoder, [row["text"] for row in rows], batch)
        classes, _ = embeddings.embed(encoder, [DESCRIPTION.format(label=label) for label in labels], batch)
    return texts @ classes.T, np.array([labels.index(row["label"]) for row in rows])


def held_out(scores: Any, truth: Any) -> float:
    """The mean calibration error on the half that was not fitted on."""
    draw, half = np.random.default_rng(0), len(truth) // 2
    errors = []
    for _ in range(DRAWS):
        order = draw.permutation(len(truth))
        temperature = fit_temperature(scores[order[:half]], truth[order[:half]])
        errors.append(calibration_error(softmax(scores[order[half:]], temperature), truth[order[half:]]))
    return float(np.mean(errors))


def report() -> dict[str, Any]:
    scores, truth = cosines()
    middle, spread = fit_threshold(scores, np.arange(scores.shape[1]) == truth[:, None])
    figures = {
        "texts": len(truth),
        "classes": scores.shape[1],
        "accuracy": float((scores.argmax(axis=1) == truth).mean()),
        "temperature": fit_temperature(scores, truth),
        "middle": middle,
        "spread": spread,
        "carried_temperature": CONFIDENCE[MODEL].temperature,
        "error_held_out": held_out(scores, truth),
        "error_uncalibrated": calibration_error(softmax(scores), truth),
    }
    error = figures["error_held_out"]
    goal = {"name": "calibration_error_held_out", "value": error, "goal": MOST_ERROR, "met": error <= MOST_ERROR}
    return {"bench": "zero_shot", "figures": figures, "goals": [goal]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench zero_shot", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    asked = parser.parse_args()
    told = report()
    if asked.json:
        print(json.dumps(told))
    else:
        console = Console(width=120)
        for name, value in told["figures"].items():
            console.print(f"{name.replace('_', ' ')}: {value if isinstance(value, int) else round(value, 4)}")
        for goal in told["goals"]:
            console.print(f"{'met' if goal['met'] else 'missed'}: {goal['name']}, at most {goal['goal']}")
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
