"""One unit vector per text from the states of its tokens, in numpy, for engines that return states."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pooling = Literal["mean", "cls"]
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


def pooled(states: Floats, mask: Ids, pooling: Pooling) -> Floats:
    """(rows, tokens, hidden) and the mask (rows, tokens) → (rows, hidden), each row of length 1."""
    if pooling == "cls":
        return unit(states[:, 0])
    weights = mask[:, :, None].astype(np.float32)
    return unit((states * weights).sum(axis=1) / weights.sum(axis=1))


def unit(vectors: Floats) -> Floats:
    """Each row divided by its length; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
