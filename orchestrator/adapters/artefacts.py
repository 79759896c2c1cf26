"""The artefacts that come with this version, read once. It trains nothing."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from orchestrator.core.quality import judge as quality
from orchestrator.core.quality.judge import Judge
from orchestrator.core.reading.predict import Predictor, load


@cache
def shipped_predictor() -> Predictor:
    """What `scripts/train-router` wrote beside the code. Raises InvalidInput when it cannot be read."""
    return load((files("orchestrator.core") / "artefacts" / "router.npz").read_bytes())


@cache
def trained_on() -> frozenset[str]:
    """Names of the data sets that the shipped predictor has seen outcomes of."""
    told = json.loads((files("orchestrator.core") / "artefacts" / "router.json").read_text("utf-8"))
    return frozenset(told["trained_on"])


@cache
def shipped_judge() -> Judge:
    """What `scripts/train-quality` wrote beside the code. Raises InvalidInput when it cannot be read."""
    return quality.load((files("orchestrator.core") / "artefacts" / "quality.json").read_bytes())
