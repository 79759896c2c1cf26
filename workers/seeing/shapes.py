"""The sizes of CLIP's two towers as a folder's config.json says them, checked; it reads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "vision_config": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    "text_config": {
        "hidden_size": 512,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
}
"""Of CLIPVisionConfig and CLIPTextConfig (transformers 5.23): a config.json names only what differs from them."""


class UnsupportedTower(ValueError):
    """The folder holds no CLIP model that can be run here; the text says which fact of it, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One tower's sizes. `places`: of the text tower the longest text in tokens; of the image tower, patches and one
    more, from images of `side` pixels in patches of `patch`."""

    hidden: int
    heads: int
    layers: int
    places: int
    side: int
    patch: int
    activation: str
    epsilon: float


def read_shapes(folder: Path) -> tuple[Shape, Shape]:
    """The image tower's and the text tower's. Raises UnsupportedTower."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "clip":
        raise UnsupportedTower(f"config.json says model_type = {config.get('model_type')!r}; only 'clip' is run here")
    vision, text = ({**DEFAULTS[name], **(config.get(name) or {})} for name in ("vision_config", "text_config"))
    return _shape(vision, (vision["image_size"] // vision["patch_size"]) ** 2 + 1), _shape(
        text, text["max_position_embeddings"]
    )


def _shape(config: Mapping[str, Any], places: int) -> Shape:
    if config["hidden_act"] not in ("gelu", "quick_gelu"):
        raise UnsupportedTower(f"config.json says hidden_act = {config['hidden_act']!r}; known are gelu, quick_gelu")
    return Shape(
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        layers=config["num_hidden_layers"],
        places=places,
        side=config.get("image_size", 0),
        patch=config.get("patch_size", 0),
        activation=config["hidden_act"],
        epsilon=config["layer_norm_eps"],
    )
