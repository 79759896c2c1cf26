"""From token ids to the state of every token, for each family of encoders; it pools and judges nothing.

Follows Hugging Face's BertModel, DistilBertModel, RobertaModel, XLMRobertaModel, DebertaV2Model and GteModel
(for the layout of Alibaba-NLP/new-impl).
"""

from __future__ import annotations

from workers.encoder.architecture import Family
from workers.encoder.attention import Attention, RotaryAttention
from workers.encoder.disentangled import DisentangledAttention
from workers.encoder.graph import Graph
from workers.encoder.names import NAMES, Names


def add_body(graph: Graph, *, pairs: bool) -> str:
    """The state of every token, (batch × tokens, hidden). `pairs`: the model tells a pair's two texts apart by
    `token_type_ids`, where it has such types."""
    names = NAMES[graph.shape.family]
    state = graph.rows(_embeddings(graph, pairs))
    attend = _attention(graph, names)
    for number in range(graph.shape.layers):
        at = f"{names.layer}{number}."
        attended = graph.dense(at + names.mixed, attend(at, state))
        state = graph.norm(at + names.after_attention, graph.add("Add", attended, state))
        fed = graph.dense(at + names.outer, _inner(graph, names, at, state))
        state = graph.norm(at + names.after_feed, graph.add("Add", fed, state))
    return state


def _attention(graph: Graph, names: Names) -> Attention | DisentangledAttention:
    if graph.shape.family is Family.DEBERTA:
        return DisentangledAttention(graph, names)
    return RotaryAttention(graph, names) if graph.shape.rotary_base else Attention(graph, names)


def _inner(graph: Graph, names: Names, at: str, state: str) -> str:
    inner = graph.dense(at + names.inner, state)
    if not names.gated:
        return graph.activate(graph.shape.activation, inner)
    up, gate = graph.parts(inner, 2, axis=-1)
    return graph.add("Mul", up, graph.activate(graph.shape.activation, gate))


def _embeddings(graph: Graph, pairs: bool) -> str:
    """(batch, tokens, hidden), normed."""
    words = graph.looked_up("embeddings.word_embeddings.weight", graph.input("input_ids"))
    for extra in filter(None, (_positions(graph), _types(graph, pairs))):
        words = graph.add("Add", words, extra)
    return graph.norm("embeddings.LayerNorm", words)


def _positions(graph: Graph) -> str | None:
    if graph.shape.rotary_base or graph.shape.buckets:
        return None
    first = graph.ints(graph.shape.first_position)
    end = graph.add("Add", first, graph.length())
    table = graph.weight("embeddings.position_embeddings.weight")
    return graph.add("Slice", table, first, end, graph.ints(0))


def _types(graph: Graph, pairs: bool) -> str | None:
    if not graph.shape.token_types:
        return None
    table = graph.weight("embeddings.token_type_embeddings.weight")
    if pairs and graph.shape.token_types > 1:
        return graph.add("Gather", table, graph.input("token_type_ids"))
    return graph.add("Slice", table, graph.ints(0), graph.ints(1), graph.ints(0))
