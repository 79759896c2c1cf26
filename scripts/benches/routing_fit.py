"""Learns the gain (strong − weak) of a set from its labels and predicts it for other queries of that set.

Up to three learners of one target, averaged: a kernel ridge over words, vectors and signals together; extremely
randomised trees; boosted trees. All constants below were chosen by cross-validation on the development sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from routing_sets import PAIRS, Floats, Table
from routing_views import Matrix, Text, View
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import svds
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from orchestrator.core.reading import lexical

NOISE = 8.0  # ridge of the kernel regression, in units of the kernels' variance
VECTOR_WIDTH = 2.0  # exp(−2‖a − b‖²) of unit vectors: 0.37 at cosine 0.75
ANSWER_WEIGHT, AGREEMENT_WEIGHT = 2.0, 4.0  # of their signals' kernels beside the query's, each of which weighs 1
TOPIC_WEIGHT, TOPIC_SHARPNESS = 0.3, 8.0
FEW_LABELS = 1500.0  # at this many, other models' outcomes count as much as the label itself, and the prior half
PRIOR_WEIGHT = 0.12  # deviations of the gain per deviation of the prior; one set's labels outgrow it
LEAST_OTHER_MODELS = 3
LEAST_SPREAD = 0.01  # of a direction beside the widest
PRIOR = [lexical.SIGNALS.index(name) for name in ("words", "numbers")]
BIG = 2000  # labels from which leaves may not be small, and boosting pays


@dataclass(frozen=True, slots=True)
class Predicted:
    """Of each row asked: the gain, and the weak model's quality (by the kernel ridge alone, whose cost it shares)."""

    gain: Floats
    weak: Floats


def predict(train: Table, seen: View, asked: View, seed: int = 0) -> Floats:
    """Predicted gain for each row of `asked`, learnt from `train` whose rows are `seen`."""
    return both(train, seen, asked, seed).gain


def both(train: Table, seen: View, asked: View, seed: int = 0) -> Predicted:
    """Reads what both views have: the query, and the weak answer and the agreement where neither is None."""
    target = labels(train, after_answer=seen.answer is not None)
    assert train.weak is not None
    smooth, weak = kernel_ridge(seen, asked, np.stack([target, train.weak], axis=1), train.subjects).T
    known, new = _columns(seen, asked)
    learners = [smooth, forest(known, new, target, seed)]
    if len(target) > BIG:  # boosting overfits fewer labels: it lost 0.01 to 0.03 on the five small sets
        learners.append(boosted(known, new, target, seed))
    share = PRIOR_WEIGHT * FEW_LABELS / (FEW_LABELS + len(target))
    return Predicted(np.asarray(sum(learners) / len(learners) + share * target.std() * _prior(seen, asked)), weak)


def _prior(seen: View, asked: View) -> Floats:
    """What is true of every set measured: longer queries, and those with more numbers, gain more. In deviations."""
    known, new = _standard(seen.query.signals[:, PRIOR], asked.query.signals[:, PRIOR])
    return np.asarray(new.sum(axis=1) / known.sum(axis=1).std(), dtype=np.float64)


def labels(train: Table, *, after_answer: bool = False) -> Floats:
    """The gains to learn. With few labels one 0 or 1 is a noisy sign of how hard a query is; where three or more
    other models answered it too, their outcomes (regressed on, each row left out of its own fit) stand in for part
    of it. Once the weak answer is read, only the strong model's part is replaced: the weak one is no longer chance.
    """
    weak, strong = PAIRS[train.name]
    others = [each for name, each in (train.models or {}).items() if name not in (weak, strong)]
    if len(others) < LEAST_OTHER_MODELS or train.strong is None:
        return train.gain
    share = FEW_LABELS / (FEW_LABELS + len(train))
    outcome = train.strong if after_answer else train.gain
    softened = (1 - share) * outcome + share * _left_out(np.stack(others, axis=1), outcome)
    return np.asarray(softened - train.weak if after_answer else softened)


def _left_out(others: Floats, outcome: Floats) -> Floats:
    """Ridge of `outcome` on the other models' outcomes, each row predicted without itself."""
    design = np.hstack([others, others.mean(axis=1, keepdims=True) ** 2])
    design = design - design.mean(axis=0)
    hat = design @ np.linalg.solve(design.T @ design + 20 * np.eye(design.shape[1]), design.T)
    own, centred = np.diag(hat), outcome - outcome.mean()
    return np.asarray((hat @ centred - own * centred) / (1 - own) + outcome.mean())


def kernel_ridge(seen: View, asked: View, target: Floats, subjects: Sequence[str] | None) -> Floats:
    """Ridge in the sum of the views' kernels, with a random effect per training subject. `target` has one column per
    thing to predict (or is one column), and so has what is returned.

    A query's own subject is not read: its posterior comes from the same kernels, and weighs the subjects' effects.
    """
    within, across = _kernels(seen, asked)
    within[np.diag_indices_from(within)] += NOISE
    factor = cho_factor(within, lower=True, overwrite_a=True, check_finite=False)
    mean = target.mean(axis=0)
    solved = cho_solve(factor, (target - mean).astype(np.float32))
    if subjects is None or len(set(subjects)) < 2:
        return np.asarray(mean + across @ solved, dtype=np.float64)
    _, at = np.unique(list(subjects), return_inverse=True)
    member = np.eye(at.max() + 1, dtype=np.float32)[at]
    spread = cho_solve(factor, member)
    # Woodbury: the same ridge with TOPIC_WEIGHT added where two training queries share a subject.
    inner = np.eye(member.shape[1]) / TOPIC_WEIGHT + member.T @ spread
    solved = solved - spread @ np.linalg.solve(inner, member.T @ solved)
    centre = member.mean(axis=0)
    posterior = _softmax(across @ (spread - np.outer(cho_solve(factor, np.ones(len(at), np.float32)), centre)) + centre)
    return np.asarray(mean + across @ solved + TOPIC_WEIGHT * posterior @ (member.T @ solved), dtype=np.float64)


def _softmax(values: Floats) -> Floats:
    scaled = np.exp(TOPIC_SHARPNESS * (values - values.max(axis=1, keepdims=True)))
    return np.asarray(scaled / scaled.sum(axis=1, keepdims=True))


def _kernels(seen: View, asked: View) -> tuple[Matrix, Matrix]:
    """Similarities within the training rows (n, n) and of the asked rows to them (m, n), float32."""
    parts = [_text_kernels(seen.query, asked.query, 1.0)]
    if seen.answer is not None and asked.answer is not None:
        parts.append(_text_kernels(seen.answer, asked.answer, ANSWER_WEIGHT))
    if seen.agreement is not None and asked.agreement is not None:
        known, new = _standard(seen.agreement, asked.agreement)
        close = _near(known, known, 0.5 / known.shape[1]), _near(new, known, 0.5 / known.shape[1])
        # The product lets agreement mean more on some kinds of query than on others.
        parts.append((close[0] * (AGREEMENT_WEIGHT + parts[0][0]), close[1] * (AGREEMENT_WEIGHT + parts[0][1])))
    within, across = parts[0]
    for one, other in parts[1:]:
        within, across = within + one, across + other
    return within, across


def _text_kernels(seen: Text, asked: Text, signal_weight: float) -> tuple[Matrix, Matrix]:
    known, new = weighted_words(seen.words, asked.words)
    near, far = _standard(seen.signals, asked.signals)
    width = 0.5 / near.shape[1]
    within = (known @ known.T).toarray() + _near(seen.vectors, seen.vectors, VECTOR_WIDTH)
    across = (new @ known.T).toarray() + _near(asked.vectors, seen.vectors, VECTOR_WIDTH)
    within += signal_weight * _near(near, near, width)
    across += signal_weight * _near(far, near, width)
    return within, across


def weighted_words(seen: sparse.csr_matrix, asked: sparse.csr_matrix) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """TF-IDF rows of unit length; weights from `seen` alone, words that only one of its texts has are dropped."""
    found = np.bincount(seen.indices, minlength=seen.shape[1])
    weight = np.where(found < 2, 0.0, np.log((1 + seen.shape[0]) / (1 + found)) + 1).astype(np.float32)
    return _unit(seen @ sparse.diags(weight)), _unit(asked @ sparse.diags(weight))


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return (sparse.diags((1 / np.maximum(length, 1e-9)).astype(np.float32)) @ rows).tocsr()


def _standard(seen: Floats, asked: Floats) -> tuple[Matrix, Matrix]:
    mean, deviation = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    known, new = (np.clip((each - mean) / deviation, -4, 4).astype(np.float32) for each in (seen, asked))
    return known, new


def _near(one: Matrix, other: Matrix, width: float) -> Matrix:
    squared = (one * one).sum(axis=1)[:, None] + (other * other).sum(axis=1)[None, :] - 2 * one @ other.T
    return np.asarray(np.exp(-width * np.maximum(squared, 0)), dtype=np.float32)


def forest(known: Floats, new: Floats, target: Floats, seed: int) -> Floats:
    leaf = 10 if len(target) > BIG else 4
    trees = ExtraTreesRegressor(200, min_samples_leaf=leaf, max_features=0.3, random_state=seed)
    return np.asarray(trees.fit(known, target).predict(new))


def boosted(known: Floats, new: Floats, target: Floats, seed: int) -> Floats:
    trees = HistGradientBoostingRegressor(
        max_iter=150,
        learning_rate=0.04,
        max_leaf_nodes=12,
        min_samples_leaf=40,
        l2_regularization=5.0,
        max_features=0.3,
        random_state=seed,
    )
    return np.asarray(trees.fit(known, target).predict(new))


@dataclass(frozen=True, slots=True)
class _Basis:
    """Directions of largest spread in the training rows; other rows are projected on them."""

    mean: NDArray[np.float32] | None
    directions: Matrix

    def of(self, rows: sparse.csr_matrix | Matrix) -> Floats:
        moved = np.asarray((rows if self.mean is None else rows - self.mean) @ self.directions.T)
        return np.round(moved.astype(np.float64), 4)  # so that the last bit never decides a split


def _columns(seen: View, asked: View) -> tuple[Floats, Floats]:
    """The trees' columns: signals, and the leading directions of words and vectors."""
    known, new = _text_columns(seen.query, asked.query)
    if seen.answer is not None and asked.answer is not None:
        more = _text_columns(seen.answer, asked.answer)
        known, new = np.hstack([known, more[0]]), np.hstack([new, more[1]])
    if seen.agreement is not None and asked.agreement is not None:
        known, new = np.hstack([known, seen.agreement]), np.hstack([new, asked.agreement])
    return known, new


def _text_columns(seen: Text, asked: Text) -> tuple[Floats, Floats]:
    words, new_words = weighted_words(seen.words, asked.words)
    size = max(2, min(40, len(seen.signals) // 10))
    lexis = _basis(words, size)
    mean = seen.vectors.mean(axis=0)
    meaning = _basis(seen.vectors - mean, size, mean)
    return (
        np.hstack([seen.signals, lexis.of(words), meaning.of(seen.vectors)]),
        np.hstack([asked.signals, lexis.of(new_words), meaning.of(asked.vectors)]),
    )


def _basis(rows: sparse.csr_matrix | Matrix, size: int, mean: NDArray[np.float32] | None = None) -> _Basis:
    _, spread, directions = svds(rows, k=size, random_state=0)
    # Directions along which next to nothing varies are chance: rounding alone would turn them from run to run.
    return _Basis(mean, directions[spread > LEAST_SPREAD * spread.max()])
