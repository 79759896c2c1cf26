"""Plain routers to stand beside the learned one, in the same folds: each takes a training part and scores the rest."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import numpy as np
from routing_fit import weighted_words
from routing_sets import Floats, Table
from routing_views import View
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from orchestrator.core.reading import features
from orchestrator.core.routing import score
from orchestrator.core.types import Message, Request
from registry.schema import Task

NEIGHBOURS, TOPIC_PRIOR_ROWS = 40, 20.0
Baseline = Callable[[Table, View, Table, View], Floats]


def random(train: Table, seen: View, test: Table, asked: View) -> Floats:
    return np.random.default_rng(0).random(len(test))


def length(train: Table, seen: View, test: Table, asked: View) -> Floats:
    return np.array([float(len(query)) for query in test.queries])


def rules(train: Table, seen: View, test: Table, asked: View) -> Floats:
    """The difficulty that `core/routing/score.py` states without any label."""
    requests = (
        Request(id=UUID(int=0), task=Task.GENERATE, messages=(Message(role="user", content=query),))
        for query in test.queries
    )
    return np.array([score.difficulty(features.read(request)) for request in requests])


def topic_prior(train: Table, seen: View, test: Table, asked: View) -> Floats:
    """Told the subject of each query, which a router is not: the shrunken mean gain of that subject."""
    mean, subjects = float(train.gain.mean()), np.array(train.subjects)
    prior = {}
    for subject in set(train.subjects or ()):
        gains = train.gain[subjects == subject]
        prior[subject] = (gains.sum() + TOPIC_PRIOR_ROWS * mean) / (len(gains) + TOPIC_PRIOR_ROWS)
    return np.array([prior.get(subject, mean) for subject in test.subjects or ()])


def logistic(train: Table, seen: View, test: Table, asked: View) -> Floats:
    """P(the strong model does better) on MiniLM vectors."""
    better = train.gain > 0
    if better.all() or not better.any():
        return np.zeros(len(test))
    model = LogisticRegression(C=1.0, max_iter=300).fit(seen.query.vectors, better)
    return np.asarray(model.predict_proba(asked.query.vectors)[:, 1])


def vector_ridge(train: Table, seen: View, test: Table, asked: View) -> Floats:
    return np.asarray(Ridge(alpha=10.0).fit(seen.query.vectors, train.gain).predict(asked.query.vectors))


def word_ridge(train: Table, seen: View, test: Table, asked: View) -> Floats:
    known, new = weighted_words(seen.query.words, asked.query.words)
    used = np.flatnonzero(np.bincount(known.indices, minlength=known.shape[1]))
    known, new = sparse.csr_matrix(known[:, used]), sparse.csr_matrix(new[:, used])
    model = Ridge(alpha=6.0, solver="sparse_cg", tol=1e-3).fit(known, train.gain)
    return np.asarray(model.predict(new))


def neighbours(train: Table, seen: View, test: Table, asked: View) -> Floats:
    """Mean gain of the nearest training queries by cosine."""
    close = asked.query.vectors @ seen.query.vectors.T
    count = min(NEIGHBOURS, close.shape[1])
    nearest = np.argpartition(-close, count - 1, axis=1)[:, :count]
    return np.asarray(train.gain[nearest].mean(axis=1))


def boosting(train: Table, seen: View, test: Table, asked: View) -> Floats:
    trees = HistGradientBoostingRegressor(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=15, max_features=0.2, random_state=0
    )
    return np.asarray(trees.fit(seen.query.vectors, train.gain).predict(asked.query.vectors))


def oracle(train: Table, seen: View, test: Table, asked: View) -> Floats:
    return test.gain


BASELINES: dict[str, Baseline] = {
    "random": random,
    "length": length,
    "rules": rules,
    "topic prior (told)": topic_prior,
    "logistic": logistic,
    "ridge, vectors": vector_ridge,
    "ridge, words": word_ridge,
    "kNN": neighbours,
    "boosting": boosting,
    "oracle": oracle,
}
