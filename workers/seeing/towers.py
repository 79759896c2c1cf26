"""CLIP's two towers as ONNX graphs, written from a folder of weights; needs no torch and runs nothing.

Follows Hugging Face's CLIPModel (A. Radford et al., "Learning Transferable Visual Models From Natural Language
Supervision", arXiv 2103.00020). States are (batch × places, hidden), one matrix, so that a dense layer is one Gemm
that reads its weights as they lie in the file; the weights are named by their place there and not copied.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.encoder.tensors import Tensors
from workers.seeing.shapes import Shape, UnsupportedTower

OPSET = 20  # the first with LayerNormalization and Gelu as single operators
IR_VERSION = 10  # the newest that onnxruntime 1.20 reads
FUSED = "com.microsoft"  # ONNX Runtime's own operators
KINDS = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}


def image_tower(shape: Shape, tensors: Tensors) -> onnx.ModelProto:
    """Input `pixels` (n, 3, side, side) float32; output `vectors` (n, dimensions), each of length 1."""
    tower = _Tower(shape, tensors, "vision_model.")
    patches = tower.add(
        "Conv",
        "pixels",
        tower.weight("vision_model.embeddings.patch_embedding.weight"),
        kernel_shape=[shape.patch] * 2,
        strides=[shape.patch] * 2,
    )
    rows = tower.add("Reshape", patches, tower.ints(0, 0, -1))
    rows = tower.add("Transpose", rows, perm=[0, 2, 1])
    count = tower.add("Concat", tower.add("Shape", "pixels", end=1), tower.ints(1, shape.hidden), axis=0)
    whole = tower.add("Expand", tower.weight("vision_model.embeddings.class_embedding"), count)
    state = tower.add("Concat", whole, rows, axis=1)
    state = tower.add("Add", state, tower.weight("vision_model.embeddings.position_embedding.weight"))
    state = tower.layers(tower.norm("vision_model.pre_layrnorm", tower.matrix(state)), tower.ints(-1, shape.places))
    first = tower.add("Gather", tower.sequences(state, tower.ints(-1, shape.places)), tower.zero(), axis=1)
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, shape.side, shape.side])
    return tower.model(tower.norm("vision_model.post_layernorm", first), "visual_projection", [pixels])


def text_tower(shape: Shape, tensors: Tensors) -> onnx.ModelProto:
    """Inputs `ids` (n, tokens) int64, padded on the right with anything, and `ends` (n) int64: of each text the row of
    its end mark in the flattened ids. Output `vectors` (n, dimensions), each of length 1."""
    tower = _Tower(shape, tensors, "text_model.")
    words = tower.add("Gather", tower.weight("text_model.embeddings.token_embedding.weight"), "ids")
    length = tower.add("Shape", "ids", start=1, end=2)
    table = tower.weight("text_model.embeddings.position_embedding.weight")
    places = tower.add("Slice", table, tower.ints(0), length, tower.ints(0))
    counts = tower.add("Shape", "ids")
    state = tower.layers(tower.matrix(tower.add("Add", words, places)), counts, back_only=True)
    last = tower.norm("text_model.final_layer_norm", tower.add("Gather", state, "ends", axis=0))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "tokens"])
    ends = helper.make_tensor_value_info("ends", TensorProto.INT64, ["n"])
    return tower.model(last, "text_projection", [ids, ends])


class _Tower:
    """Collects nodes; each method adds one part and returns the name of its output."""

    def __init__(self, shape: Shape, tensors: Tensors, prefix: str) -> None:
        self.shape = shape
        self.tensors = tensors
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def zero(self) -> str:
        return self.constant("zero", np.array(0, dtype=np.int64))

    def weight(self, name: str) -> str:
        """A tensor of the model, named by its place in the file and not copied. Raises UnsupportedTower."""
        if name not in self.tensors:
            raise UnsupportedTower(f"the weights have no tensor {name!r}; they are not a CLIPModel's")
        tensor = self.tensors[name]
        if tensor.kind not in KINDS:
            raise UnsupportedTower(f"the tensor {name!r} is of type {tensor.kind}; read are {', '.join(KINDS)}")
        kept = TensorProto(
            name=name, data_type=KINDS[tensor.kind], dims=tensor.shape, data_location=TensorProto.EXTERNAL
        )
        place = {"location": tensor.file.name, "offset": str(tensor.offset), "length": str(tensor.length)}
        for key, value in place.items():
            kept.external_data.add(key=key, value=value)
        self.constants[name] = kept
        return name if tensor.kind == "F32" else self.add("Cast", name, to=TensorProto.FLOAT)

    def dense(self, name: str, state: str) -> str:
        return self.add("Gemm", state, self.weight(name + ".weight"), self.weight(name + ".bias"), transB=1)

    def norm(self, name: str, state: str) -> str:
        scale, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.add("LayerNormalization", state, scale, shift, axis=-1, epsilon=self.shape.epsilon)

    def matrix(self, state: str) -> str:
        """(n, places, hidden) as one matrix of places."""
        return self.add("Reshape", state, self.ints(-1, self.shape.hidden))

    def sequences(self, state: str, counts: str) -> str:
        """The matrix as (n, places, hidden); `counts` names [n, places]."""
        return self.add("Reshape", state, self.add("Concat", counts, self.ints(self.shape.hidden), axis=0))

    def layers(self, state: str, counts: str, *, back_only: bool = False) -> str:
        """Layers that norm before they attend and before they think. `back_only`: each place attends to itself
        and those before it."""
        for number in range(self.shape.layers):
            at = f"{self.prefix}encoder.layers.{number}."
            seen = self.norm(at + "layer_norm1", state)
            state = self.add("Add", state, self.attended(at + "self_attn.", seen, counts, back_only))
            inner = self.activated(self.dense(at + "mlp.fc1", self.norm(at + "layer_norm2", state)))
            state = self.add("Add", state, self.dense(at + "mlp.fc2", inner))
        return state

    def attended(self, at: str, state: str, counts: str, back_only: bool) -> str:
        parts = (self.sequences(self.dense(f"{at}{name}_proj", state), counts) for name in "qkv")
        mixed = self.add(
            "MultiHeadAttention", *parts, domain=FUSED, num_heads=self.shape.heads, unidirectional=int(back_only)
        )
        return self.dense(at + "out_proj", self.matrix(mixed))

    def activated(self, state: str) -> str:
        if self.shape.activation == "gelu":
            return self.add("Gelu", state)
        slope = self.constant("slope", np.array(1.702, dtype=np.float32))
        return self.add("Mul", state, self.add("Sigmoid", self.add("Mul", state, slope)))

    def model(self, pooled: str, projection: str, inputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        vectors = self.add("Gemm", pooled, self.weight(projection + ".weight"), transB=1)
        self.add("LpNormalization", vectors, out="vectors", axis=-1, p=2)
        width = self.tensors[projection + ".weight"].shape[0]
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", width])
        graph = helper.make_graph(self.nodes, projection, inputs, [output], list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="pennyroute")
