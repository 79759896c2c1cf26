"""What config.json says about an encoder, checked and in our words; it reads no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

Head = Literal["mean", "cls", "logits"]
"""`mean` and `cls` pool to a unit vector per text, `logits` is the model's classifier."""


class UnsupportedModel(ValueError):
    """The folder holds a model that cannot be run without torch; the text says which fact of it, and why."""


class Family(StrEnum):
    """`model_type` of the architectures that are written as a graph here."""

    BERT = "bert"
    DISTILBERT = "distilbert"
    ROBERTA = "roberta"
    XLM_ROBERTA = "xlm-roberta"
    DEBERTA = "deberta-v2"
    GTE = "new"


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """The shape of one model. `tokens` is the longest input, special tokens included; `first_position` the row of the
    position table that the first token takes; `rotary_base` and `rotary_stretch` turn positions into angles."""

    family: Family
    hidden: int
    heads: int
    layers: int
    epsilon: float
    activation: str
    tokens: int
    token_types: int
    first_position: int = 0
    buckets: int = 0
    rotary_base: float = 0.0
    rotary_stretch: float = 1.0
    pooler_activation: str = "tanh"

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


def read_architecture(folder: Path) -> Architecture:
    """Raises UnsupportedModel for an architecture or an option of it that no graph is written for."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    family = _family(config)
    _refuse(config, _EXPECTED[family])
    activation = str(config.get("activation" if family is Family.DISTILBERT else "hidden_act", "gelu"))
    if activation not in ACTIVATIONS:
        raise UnsupportedModel(f"config.json says activation = {activation!r}; known are {', '.join(ACTIVATIONS)}")
    try:
        return _architecture(family, config, activation)
    except KeyError as error:
        raise UnsupportedModel(f"config.json lacks {error.args[0]!r}, which a {family} model has") from error


ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu")

_EXPECTED: Mapping[Family, Mapping[str, Any]] = {
    Family.BERT: {"position_embedding_type": "absolute", "is_decoder": False},
    Family.DISTILBERT: {"sinusoidal_pos_embds": False},
    Family.ROBERTA: {"position_embedding_type": "absolute", "is_decoder": False},
    Family.XLM_ROBERTA: {"position_embedding_type": "absolute", "is_decoder": False},
    Family.DEBERTA: {
        "relative_attention": True,
        "position_biased_input": False,
        "share_att_key": True,
        "conv_kernel_size": 0,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0,
    },
    Family.GTE: {"position_embedding_type": "rope", "pack_qkv": True, "layer_norm_type": "layer_norm"},
}


def _family(config: Mapping[str, Any]) -> Family:
    name = config.get("model_type")
    try:
        return Family(str(name))
    except ValueError as error:
        known = ", ".join(Family)
        raise UnsupportedModel(f"config.json says model_type = {name!r}; without torch run {known}") from error


def _refuse(config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise UnsupportedModel(
                f"config.json says {name} = {config[name]!r}; only {value!r} can be run without torch"
            )


def _architecture(family: Family, config: Mapping[str, Any], activation: str) -> Architecture:
    slim = family is Family.DISTILBERT  # it has words of its own
    offset = _first_position(family, config)
    return Architecture(
        family=family,
        hidden=config["dim" if slim else "hidden_size"],
        heads=config["n_heads" if slim else "num_attention_heads"],
        layers=config["n_layers" if slim else "num_hidden_layers"],
        epsilon=1e-12 if slim else config.get("layer_norm_eps", 1e-7 if family is Family.DEBERTA else 1e-12),
        activation=activation,
        tokens=config["max_position_embeddings"] - offset,
        token_types=0 if slim else config.get("type_vocab_size", 0),
        first_position=offset,
        buckets=_buckets(family, config),
        pooler_activation=config.get("pooler_hidden_act", "gelu") if family is Family.DEBERTA else "tanh",
        **_rotary(family, config),
    )


def _first_position(family: Family, config: Mapping[str, Any]) -> int:
    """RoBERTa counts positions from the one after its padding token's id."""
    return config.get("pad_token_id", 1) + 1 if family in (Family.ROBERTA, Family.XLM_ROBERTA) else 0


def _buckets(family: Family, config: Mapping[str, Any]) -> int:
    if family is not Family.DEBERTA:
        return 0
    kinds = config.get("pos_att_type") or ()
    named = kinds.split("|") if isinstance(kinds, str) else kinds
    longest = config.get("max_relative_positions", -1)
    if set(named) != {"c2p", "p2c"} or longest > 0 or config.get("position_buckets", -1) <= 0:
        raise UnsupportedModel("config.json: only pos_att_type c2p|p2c with position_buckets can be run without torch")
    if config.get("embedding_size", config["hidden_size"]) != config["hidden_size"]:
        raise UnsupportedModel("config.json: an embedding_size other than hidden_size cannot be run without torch")
    return int(config["position_buckets"])


def _rotary(family: Family, config: Mapping[str, Any]) -> dict[str, float]:
    """Fixed NTK scaling (https://kexue.fm/archives/9706): a larger base, and angles stretched a little."""
    if family is not Family.GTE:
        return {}
    base, scaling = config.get("rope_theta", 10000.0), config.get("rope_scaling")
    if scaling is None:
        return {"rotary_base": base}
    if scaling.get("type") != "ntk" or scaling.get("mixed_b") is not None:
        raise UnsupportedModel(f"config.json says rope_scaling = {scaling!r}; only type 'ntk' can be run without torch")
    factor, size = scaling["factor"], config["hidden_size"] // config["num_attention_heads"]
    return {"rotary_base": base * factor, "rotary_stretch": factor ** (2 / size)}
