"""The parts an encoder's ONNX graph is made of; it knows no architecture and holds no weights.

States are (batch × tokens, hidden): one matrix, so that each dense layer is one Gemm that reads its weights
as they lie in the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.encoder.architecture import Architecture, UnsupportedModel
from workers.encoder.tensors import Tensor, Tensors

OPSET = 20  # the first with LayerNormalization and Gelu as single operators
IR_VERSION = 10  # the newest that onnxruntime 1.20 reads
FUSED = "com.microsoft"  # ONNX Runtime's own operators
_KINDS = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}


def _external(name: str, tensor: Tensor) -> TensorProto:
    proto = TensorProto(name=name, data_type=_KINDS[tensor.kind], dims=tensor.shape)
    proto.data_location = TensorProto.EXTERNAL
    for key, value in (("location", tensor.file.name), ("offset", tensor.offset), ("length", tensor.length)):
        proto.external_data.add(key=key, value=str(value))
    return proto


class Graph:
    """Collects nodes; each method adds one part and returns the name of its output."""

    def __init__(self, shape: Architecture, tensors: Tensors) -> None:
        self.shape = shape
        self.tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[str] = []

    def add(self, op: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def once(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The same node for the same question: sizes are asked for in every layer."""
        name = "_".join((op, *inputs, *map(str, attributes.values())))
        if any(node.name == name for node in self.nodes):
            return name
        return self.add(op, *inputs, out=name, **attributes)

    def either(self, claim: str, then: onnx.GraphProto, otherwise: onnx.GraphProto) -> str:
        """What the one or the other graph of one output gives; both may use what was added before."""
        return self.add("If", claim, then_branch=then, else_branch=otherwise)

    def parts(self, state: str, count: int, axis: int) -> list[str]:
        """Equal parts along an axis."""
        names = [f"Split_{len(self.nodes)}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node("Split", [state], names, name=names[0], axis=axis, num_outputs=count))
        return names

    def input(self, name: str) -> str:
        """An int64 input (batch, tokens)."""
        if name not in self.inputs:
            self.inputs.append(name)
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"number_{value!r}", np.array(value, dtype=np.float32))

    def has(self, name: str) -> bool:
        return name in self.tensors

    def weight(self, name: str) -> str:
        """A float tensor of the model, named by its place in the file and not copied. Raises UnsupportedModel."""
        return self._widened(self._place(name), name)

    def looked_up(self, name: str, rows: str) -> str:
        """Rows of a table by their numbers, widened after they were taken: a vocabulary's table stays in its file."""
        return self._widened(self.add("Gather", self._place(name), rows), name)

    def _place(self, name: str) -> str:
        if name not in self.tensors:
            raise UnsupportedModel(f"the weights have no tensor {name!r}; they are not a {self.shape.family} model's")
        tensor = self.tensors[name]
        if tensor.kind not in _KINDS:
            raise UnsupportedModel(f"the tensor {name!r} is of type {tensor.kind}; read are {', '.join(_KINDS)}")
        self.constants[name] = _external(name, tensor)
        return name

    def _widened(self, value: str, name: str) -> str:
        return value if self.tensors[name].kind == "F32" else self.once("Cast", value, to=TensorProto.FLOAT)

    def dense(self, name: str, state: str) -> str:
        bias = [self.weight(name + ".bias")] if self.has(name + ".bias") else []
        return self.add("Gemm", state, self.weight(name + ".weight"), *bias, transB=1)

    def norm(self, name: str, state: str) -> str:
        scale, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return self.add("LayerNormalization", state, scale, shift, axis=-1, epsilon=self.shape.epsilon)

    def activate(self, kind: str, state: str) -> str:
        if kind in ("relu", "tanh"):
            return self.add(kind.capitalize(), state)
        return self.add("Gelu", state, approximate="none" if kind == "gelu" else "tanh")

    def length(self) -> str:
        """[tokens] of this call, padding included."""
        return self.once("Shape", self.input("input_ids"), start=1, end=2)

    def rows(self, state: str) -> str:
        """(batch, tokens, …) as one matrix of the tokens that are not padding."""
        flat = self.add("Reshape", state, self.ints(-1, self.shape.hidden))
        return self.add("Gather", flat, self._filled(), axis=0)

    def sequences(self, state: str, *inner: int) -> str:
        """The matrix of tokens as (batch, tokens, *inner). Where padding is stands some token: it must not count."""
        wide = self.add("Gather", state, self._places(), axis=0)
        return wide if len(inner) == 1 else self.add("Reshape", wide, self.ints(0, 0, *inner))

    def _filled(self) -> str:
        """Where in (batch × tokens) the tokens are that are not padding."""
        mask = self.once("Reshape", self.input("attention_mask"), self.ints(-1))
        return self.once("Squeeze", self.once("NonZero", mask), self.ints(0))

    def _places(self) -> str:
        """(batch, tokens): the row of each token in the matrix; of padding, that of the token before it."""
        mask = self.once("Reshape", self.input("attention_mask"), self.ints(-1))
        counted = self.once("CumSum", mask, self.constant("zero", np.array(0, dtype=np.int64)))
        rows = self.once("Sub", counted, self.ints(1))
        return self.once("Reshape", rows, self.once("Shape", self.input("attention_mask")))

    def first_tokens(self, state: str) -> str:
        """(batch, hidden): what stands at the first token of each text."""
        zero = self.constant("zero", np.array(0, dtype=np.int64))
        return self.add("Gather", self.sequences(state, self.shape.hidden), zero, axis=1)

    def model(self, output: str, width: int) -> onnx.ModelProto:
        """The finished graph, whose one output is (batch, width) float32."""
        axes = ["batch", "tokens"]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in self.inputs]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])]
        graph = helper.make_graph(self.nodes, str(self.shape.family), inputs, outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="pennyroute")
