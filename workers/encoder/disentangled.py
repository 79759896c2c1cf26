"""DeBERTa's attention: content and relative position judge each other; the sums are exact, no gather needed.

P. He et al., "DeBERTa", arXiv 2006.03654, and "DeBERTaV3", arXiv 2111.09543; buckets as in Hugging Face's
DebertaV2Model. A score depends on position only through i − j, so instead of picking (tokens × tokens) entries
by index, each row is multiplied with the 2·tokens − 1 distances in order and then shifted into place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from workers.encoder.graph import Graph
from workers.encoder.names import Names


class DisentangledAttention:
    """Called once per layer with its name and the state (batch × tokens, hidden); returns the same shape."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self.graph = graph
        self.names = names
        self.positions = graph.norm("encoder.LayerNorm", graph.weight("encoder.rel_embeddings.weight"))
        rising = bucket_rows(graph.shape.tokens, graph.shape.buckets)
        self.rising = self._distances("rising", rising)
        self.falling = self._distances("falling", rising[::-1].copy())
        self.bias = self._padding()
        self.scale = graph.number((3 * graph.shape.head_size) ** -0.5)  # three kinds of scores are added

    def __call__(self, at: str, state: str) -> str:
        graph, names = self.graph, self.names
        query, key, value = (
            self._heads(graph.dense(at + name, state), [0, 2, 1, 3]) for name in (names.query, names.key, names.value)
        )
        across = graph.add("Transpose", key, perm=[0, 1, 3, 2])
        content = graph.add("MatMul", query, across)
        by_query = self._shifted(graph.add("MatMul", query, self._table(at + names.key, self.falling)))
        by_key = self._shifted(graph.add("MatMul", key, self._table(at + names.query, self.rising)))
        position = graph.add("Add", by_query, graph.add("Transpose", by_key, perm=[0, 1, 3, 2]))
        scores = graph.add("Mul", graph.add("Add", content, position), self.scale)
        weights = graph.add("Softmax", graph.add("Add", scores, self.bias), axis=-1)
        return graph.rows(graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3]))

    def _heads(self, state: str, order: list[int]) -> str:
        shape = self.graph.shape
        return self.graph.add("Transpose", self.graph.sequences(state, shape.heads, shape.head_size), perm=order)

    def _table(self, projection: str, distances: str) -> str:
        """The projected positions at each distance of this call, as (heads, size, 2·tokens − 1)."""
        graph, shape = self.graph, self.graph.shape
        rows = graph.add("Gather", graph.dense(projection, self.positions), distances, axis=0)
        parts = graph.add("Reshape", rows, graph.ints(-1, shape.heads, shape.head_size))
        return graph.add("Transpose", parts, perm=[1, 2, 0])

    def _shifted(self, scores: str) -> str:
        """Entry (i, j) is taken from column j − i + tokens − 1: (…, tokens, 2·tokens − 1) → (…, tokens, tokens)."""
        graph = self.graph
        tokens, one = graph.length(), graph.ints(1)
        wide = graph.add("Sub", graph.add("Add", tokens, tokens), graph.ints(2))
        start = graph.add("Sub", tokens, one)
        end = graph.add("Add", start, graph.add("Mul", tokens, wide))
        flat = graph.add("Slice", graph.add("Reshape", scores, graph.ints(0, 0, -1)), start, end, graph.ints(2))
        target = graph.add("Concat", graph.ints(0, 0), tokens, wide, axis=0)
        return graph.add("Slice", graph.add("Reshape", flat, target), graph.ints(0), tokens, graph.ints(3))

    def _distances(self, name: str, rows: NDArray[np.int64]) -> str:
        """The rows of the 2·tokens − 1 distances of this call: the middle of the table for the longest text."""
        graph = self.graph
        longest = graph.ints(graph.shape.tokens)
        start = graph.add("Sub", longest, graph.length())
        end = graph.add("Sub", graph.add("Add", longest, graph.length()), graph.ints(1))
        return graph.add("Slice", graph.constant(name, rows), start, end, graph.ints(0))

    def _padding(self) -> str:
        """0 where a token is, a very negative number where padding is: added before the softmax."""
        graph = self.graph
        mask = graph.add("Cast", graph.input("attention_mask"), to=TensorProto.FLOAT)
        lowest = graph.constant("lowest", np.array(np.finfo(np.float32).min, dtype=np.float32))
        padding = graph.add("Mul", graph.add("Sub", graph.number(1.0), mask), lowest)
        return graph.add("Unsqueeze", padding, graph.ints(1, 2))


def bucket_rows(tokens: int, buckets: int) -> NDArray[np.int64]:
    """The row of the position table for each distance from −(tokens − 1) to tokens − 1.

    Distances up to half the buckets have a row each, farther ones share rows by their logarithm. In float32,
    since the rounding at a border decides the row.
    """
    distance = np.arange(1 - tokens, tokens, dtype=np.int64)
    middle = buckets // 2
    far = np.where(np.abs(distance) < middle, middle - 1, np.abs(distance)).astype(np.float32)
    widest = np.log(np.float32((tokens - 1) / middle))
    logarithm = np.ceil(np.log(far / np.float32(middle)) / widest * np.float32(middle - 1)) + np.float32(middle)
    bucket = np.where(far <= middle, distance, logarithm * np.sign(distance)).astype(np.int64)
    return np.clip(bucket + buckets, 0, 2 * buckets - 1)
