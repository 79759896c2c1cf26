"""The routing artefact that comes with this version, read once. It trains nothing."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from orchestrator.core.predict import Predictor, load


@cache
def shipped_predictor() -> Predictor:
    """What `scripts/train-router` wrote beside the code. Raises InvalidInput when it cannot be read."""
    return load((files("orchestrator.core") / "artefacts" / "router.npz").read_bytes())
