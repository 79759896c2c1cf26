"""How each family names the tensors of a layer; nothing but names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workers.encoder.architecture import Family


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """The parts of a layer, below `layer` and its number; BERT's and RoBERTa's unless said otherwise.

    `packed`: query, key and value are one tensor. `gated`: the inner layer has two halves, the first goes
    through a gate that the second opens.
    """

    layer: str = "encoder.layer."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    packed: str | None = None
    mixed: str = "attention.output.dense"
    after_attention: str = "attention.output.LayerNorm"
    inner: str = "intermediate.dense"
    gated: bool = False
    outer: str = "output.dense"
    after_feed: str = "output.LayerNorm"


_BERT = Names()
NAMES: Mapping[Family, Names] = {
    Family.BERT: _BERT,
    Family.ROBERTA: _BERT,
    Family.XLM_ROBERTA: _BERT,
    Family.DISTILBERT: Names(
        layer="transformer.layer.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        mixed="attention.out_lin",
        after_attention="sa_layer_norm",
        inner="ffn.lin1",
        outer="ffn.lin2",
        after_feed="output_layer_norm",
    ),
    Family.DEBERTA: Names(
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
    ),
    Family.GTE: Names(
        packed="attention.qkv_proj",
        mixed="attention.o_proj",
        after_attention="attn_ln",
        inner="mlp.up_gate_proj",
        gated=True,
        outer="mlp.down_proj",
        after_feed="mlp_ln",
    ),
}
