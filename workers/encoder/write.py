"""Writes the ONNX graph of an encoder from its folder; needs no torch, copies no weights and runs nothing."""

from __future__ import annotations

import onnx

from workers.encoder.architecture import Architecture, Head
from workers.encoder.bodies import add_body
from workers.encoder.graph import Graph
from workers.encoder.heads import add_logits, add_vectors
from workers.encoder.tensors import Tensors


def write_graph(shape: Architecture, tensors: Tensors, head: Head) -> onnx.ModelProto:
    """Inputs `input_ids`, `attention_mask` and, where the model tells a pair's texts apart, `token_type_ids`: int64
    (batch, tokens), padded on the right. Output `vectors` or `logits`, float32 (batch, width). The weights are
    external tensors under their own names. Raises UnsupportedModel."""
    graph = Graph(shape, tensors)
    state = add_body(graph, pairs=head == "logits")
    output, width = add_logits(graph, state) if head == "logits" else add_vectors(graph, state, head)
    return graph.model(output, width)
