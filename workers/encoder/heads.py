"""What an encoder says in the end: a unit vector per text, or the logits of a classifier; nothing of the body."""

from __future__ import annotations

from onnx import TensorProto

from workers.encoder.architecture import Family, UnsupportedModel
from workers.encoder.graph import Graph


def add_vectors(graph: Graph, state: str, pooling: str) -> tuple[str, int]:
    """(name, width) of the unit vectors: the mean over a text's tokens, or the state of its first token."""
    pooled = _mean(graph, state) if pooling == "mean" else graph.first_tokens(state)
    return graph.add("LpNormalization", pooled, out="vectors", axis=-1, p=2), graph.shape.hidden


def add_logits(graph: Graph, state: str) -> tuple[str, int]:
    """(name, width) of the logits, by the head of this family. Raises UnsupportedModel where there is none."""
    family, first = graph.shape.family, graph.first_tokens(state)
    if family is Family.DISTILBERT:
        hidden, last = graph.activate("relu", graph.dense("pre_classifier", first)), "classifier"
    elif family in (Family.ROBERTA, Family.XLM_ROBERTA):
        hidden, last = graph.activate("tanh", graph.dense("classifier.dense", first)), "classifier.out_proj"
    else:
        pooled = graph.dense("pooler.dense", first)
        hidden, last = graph.activate(graph.shape.pooler_activation, pooled), "classifier"
    if not graph.has(last + ".weight"):
        raise UnsupportedModel(f"the weights have no tensor '{last}.weight'; they are an encoder without a classifier")
    logits = graph.dense(last, hidden)
    return graph.add("Identity", logits, out="logits"), int(graph.tensors[last + ".weight"].shape[0])


def _mean(graph: Graph, state: str) -> str:
    """Over the tokens that are not padding, as sentence-transformers pools."""
    mask = graph.add("Cast", graph.input("attention_mask"), to=TensorProto.FLOAT)
    wide = graph.add("Unsqueeze", mask, graph.ints(1))
    total = graph.add("MatMul", wide, graph.sequences(state, graph.shape.hidden))
    count = graph.add("ReduceSum", mask, graph.ints(1), keepdims=1)
    return graph.add("Div", graph.add("Squeeze", total, graph.ints(1)), count)
