"""Self-attention with and without rotary positions, as ONNX Runtime's fused operator; it adds no norm.

Rotary positions: J. Su et al., "RoFormer", arXiv 2104.09864, with the halves of a head as pairs.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from workers.encoder.graph import FUSED, Graph
from workers.encoder.names import Names


class Attention:
    """Called once per layer with its name and the state (batch × tokens, hidden); returns the same shape."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self.graph = graph
        self.names = names
        self.mask = graph.add("Cast", graph.input("attention_mask"), to=TensorProto.INT32)
        self.full = graph.add(
            "Cast", graph.add("ReduceMin", graph.input("attention_mask"), keepdims=0), to=TensorProto.BOOL
        )

    def __call__(self, at: str, state: str) -> str:
        graph, names = self.graph, self.names
        parts = [graph.dense(at + name, state) for name in (names.query, names.key, names.value)]
        return self.attend(*(graph.sequences(part, graph.shape.hidden) for part in parts))

    def attend(self, query: str, key: str, value: str) -> str:
        """All three (batch, tokens, hidden); padding is not attended to."""
        graph = self.graph
        mixed = graph.either(self.full, self._fused(query, key, value), self._fused(query, key, value, "", self.mask))
        return graph.rows(mixed)

    def _fused(self, *inputs: str) -> onnx.GraphProto:
        """One branch. Without a mask the operator works block by block and never holds all scores at once: 8,192
        tokens would take 4 GB."""
        node = helper.make_node("MultiHeadAttention", inputs, ["mixed"], domain=FUSED, num_heads=self.graph.shape.heads)
        output = helper.make_tensor_value_info("mixed", TensorProto.FLOAT, None)
        return helper.make_graph([node], "attention", [], [output])


class RotaryAttention(Attention):
    """Attention whose queries and keys are turned by an angle that grows with their position."""

    def __init__(self, graph: Graph, names: Names) -> None:
        super().__init__(graph, names)
        cosines, sines = _turns(graph.shape.tokens, graph.shape.head_size, self._frequencies())
        self.cosines = self._here(graph.constant("cosines", cosines))
        self.sines = self._here(graph.constant("sines", sines))

    def __call__(self, at: str, state: str) -> str:
        graph, shape = self.graph, self.graph.shape
        packed = graph.sequences(graph.dense(f"{at}{self.names.packed}", state), 3, shape.heads, shape.head_size)
        query, key, value = graph.parts(packed, 3, axis=2)
        flat = graph.ints(0, 0, shape.hidden)
        query, key = (self.turned(part) for part in (query, key))
        return self.attend(*(graph.add("Reshape", part, flat) for part in (query, key, value)))

    def turned(self, part: str) -> str:
        """(batch, tokens, 1, heads, size) → the same."""
        graph = self.graph
        first, second = graph.parts(part, 2, axis=-1)
        turn = graph.add("Sub", graph.add("Mul", first, self.cosines), graph.add("Mul", second, self.sines))
        back = graph.add("Add", graph.add("Mul", second, self.cosines), graph.add("Mul", first, self.sines))
        return graph.add("Concat", turn, back, axis=-1)

    def _frequencies(self) -> NDArray[np.float32]:
        """In float32 throughout, as the original is computed: at position 8,000 the difference would show."""
        shape = self.graph.shape
        exponents = np.arange(0, shape.head_size, 2, dtype=np.float32) / np.float32(shape.head_size)
        inverse = np.float32(1.0) / np.float32(shape.rotary_base) ** exponents
        return (inverse / np.float32(shape.rotary_stretch)).astype(np.float32)

    def _here(self, table: str) -> str:
        """The rows of this call's positions, as (tokens, 1, 1, size / 2)."""
        rows = self.graph.add("Slice", table, self.graph.ints(0), self.graph.length(), self.graph.ints(0))
        return self.graph.add("Unsqueeze", rows, self.graph.ints(1, 2))


def _turns(tokens: int, size: int, frequencies: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    angles = np.arange(tokens, dtype=np.float32)[:, None] * frequencies
    return np.cos(angles), np.sin(angles)
