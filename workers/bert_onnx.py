"""Writes a BERT encoder as an ONNX graph straight from its safetensors; needs no torch and runs nothing.

Pooling and normalisation are part of the graph: token ids in, unit vectors out. The graph follows
Hugging Face's `BertModel` with absolute positions and exact GELU; other architectures are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OPSET = 20  # the first with LayerNormalization and Gelu as single operators
IR_VERSION = 10  # the newest that onnxruntime 1.20 reads
Pooling = Literal["mean", "cls"]
Weights = Mapping[str, NDArray[np.float32]]


class UnsupportedGraph(ValueError):
    """The folder holds a model this builder cannot write; the text says what and why."""


def build_graph(folder: Path, pooling: Pooling) -> onnx.ModelProto:
    """Inputs `input_ids` and `attention_mask`, int64 (batch, tokens); output `vectors`, float32
    (batch, hidden), each of length 1. Token type 0 throughout. Raises UnsupportedGraph."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _refuse_other_architectures(config)
    weights = load_file(folder / "model.safetensors")
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in weights else ""
    named = {name.removeprefix(prefix): np.asarray(value) for name, value in weights.items()}
    return _Graph(config, named).build(pooling)


def _refuse_other_architectures(config: Mapping[str, Any]) -> None:
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise UnsupportedGraph(
                f"config.json says {name} = {config[name]!r}; only {value!r} can be run without torch"
            )


class _Graph:
    """Collects nodes and weights; each method adds one part and returns the name of its output."""

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.hidden: int = config["hidden_size"]
        self.heads: int = config["num_attention_heads"]
        self.layers: int = config["num_hidden_layers"]
        self.epsilon: float = config["layer_norm_eps"]
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def build(self, pooling: Pooling) -> onnx.ModelProto:
        mask = self.add("Cast", "attention_mask", to=TensorProto.FLOAT)
        state = self.embeddings()
        bias = self.mask_bias(mask)
        for number in range(self.layers):
            state = self.layer(f"encoder.layer.{number}.", state, bias)
        pooled = self.mean(state, mask) if pooling == "mean" else self.first(state)
        self.add("LpNormalization", pooled, out="vectors", axis=-1, p=2)
        return self.model()

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def weight(self, name: str, transposed: bool = False) -> str:
        try:
            value = self.weights[name].astype(np.float32, copy=False)
        except KeyError as error:
            raise UnsupportedGraph(f"model.safetensors has no tensor {name!r}; it is not a BERT encoder") from error
        return self.constant(name, value.T if transposed else value)

    def embeddings(self) -> str:
        words = self.add("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        types = self.weights["embeddings.token_type_embeddings.weight"][0]
        places = self.weights["embeddings.position_embeddings.weight"] + types
        table = self.constant("positions", places.astype(np.float32, copy=False))
        length = self.add("Shape", "input_ids", start=1, end=2)
        here = self.add("Slice", table, self.ints(0), length, self.ints(0))
        return self.norm("embeddings.LayerNorm", self.add("Add", words, here))

    def mask_bias(self, mask: str) -> str:
        """0 where a token is, a very negative number where padding is: added before the softmax."""
        one = self.constant("one", np.array(1.0, dtype=np.float32))
        lowest = self.constant("lowest", np.array(np.finfo(np.float32).min, dtype=np.float32))
        padding = self.add("Mul", self.add("Sub", one, mask), lowest)
        return self.add("Unsqueeze", padding, self.ints(1, 2))

    def layer(self, prefix: str, state: str, bias: str) -> str:
        attended = self.dense(prefix + "attention.output.dense", self.attention(prefix, state, bias))
        state = self.norm(prefix + "attention.output.LayerNorm", self.add("Add", attended, state))
        inner = self.add("Gelu", self.dense(prefix + "intermediate.dense", state))
        outer = self.dense(prefix + "output.dense", inner)
        return self.norm(prefix + "output.LayerNorm", self.add("Add", outer, state))

    def attention(self, prefix: str, state: str, bias: str) -> str:
        size = self.hidden // self.heads
        query = self.split_heads(prefix + "attention.self.query", state, [0, 2, 1, 3])
        key = self.split_heads(prefix + "attention.self.key", state, [0, 2, 3, 1])
        value = self.split_heads(prefix + "attention.self.value", state, [0, 2, 1, 3])
        scale = self.constant("scale", np.array(size**-0.5, dtype=np.float32))
        scores = self.add("Mul", self.add("MatMul", query, key), scale)
        weights = self.add("Softmax", self.add("Add", scores, bias), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.add("Reshape", mixed, self.ints(0, 0, self.hidden))

    def split_heads(self, name: str, state: str, order: list[int]) -> str:
        parts = self.add("Reshape", self.dense(name, state), self.ints(0, 0, self.heads, self.hidden // self.heads))
        return self.add("Transpose", parts, perm=order)

    def dense(self, name: str, state: str) -> str:
        product = self.add("MatMul", state, self.weight(name + ".weight", transposed=True))
        return self.add("Add", product, self.weight(name + ".bias"))

    def norm(self, name: str, state: str) -> str:
        scale, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.add("LayerNormalization", state, scale, shift, axis=-1, epsilon=self.epsilon)

    def mean(self, state: str, mask: str) -> str:
        """Mean over the tokens that are not padding, as sentence-transformers pools."""
        wide = self.add("Unsqueeze", mask, self.ints(-1))
        total = self.add("ReduceSum", self.add("Mul", state, wide), self.ints(1), keepdims=0)
        return self.add("Div", total, self.add("ReduceSum", mask, self.ints(1), keepdims=1))

    def first(self, state: str) -> str:
        return self.add("Gather", state, self.constant("zero", np.array(0, dtype=np.int64)), axis=1)

    def model(self) -> onnx.ModelProto:
        shape = ["batch", "tokens"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")
        ]
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", self.hidden])
        graph = helper.make_graph(self.nodes, "bert", inputs, [output], list(self.constants.values()))
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="pennyroute")
