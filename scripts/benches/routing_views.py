"""What a router may read of each query, as matrices: words, vectors, signals; the weak answer; others' answers.

Every row is computed from its own text alone, so a test row's view cannot know its label, its subject or its set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from routing_embedding import Shelf
from routing_sets import Floats, Indices, Table
from scipy import sparse

from orchestrator.core.reading import answers, lexical

Matrix = NDArray[np.float32]
BUCKETS = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Three readings of one text each: hashed word counts, MiniLM vectors, surface signals."""

    words: sparse.csr_matrix
    vectors: Matrix
    signals: Floats

    def take(self, rows: Indices) -> Text:
        return Text(words=self.words[rows], vectors=self.vectors[rows], signals=self.signals[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """All that may be read of the queries of one table. `answer` and `agreement` are None where not given."""

    query: Text
    answer: Text | None = None
    agreement: Floats | None = None

    def take(self, rows: Indices) -> View:
        return View(
            query=self.query.take(rows),
            answer=None if self.answer is None else self.answer.take(rows),
            agreement=None if self.agreement is None else self.agreement[rows],
        )

    def before_answer(self) -> View:
        return replace(self, answer=None, agreement=None)

    def after_answer(self) -> View:
        return replace(self, agreement=None)


def view(table: Table, cache: Path, say: Callable[[str], None] | None = None) -> View:
    """One table's view; see `views`."""
    return views({table.name: table}, cache, say)[table.name]


def views(
    tables: Mapping[str, Table], cache: Path, say: Callable[[str], None] | None = None, jobs: int = 1
) -> dict[str, View]:
    """Reads queries, weak answers and local final answers of each table; vectors are kept in `cache`, and what is not
    there yet is embedded first, in `jobs` processes."""
    texts = (text for table in tables.values() for text in (*table.queries, *(table.weak_answers or ())))
    shelf = Shelf(texts, cache, say, jobs)
    return {name: _view(table, shelf) for name, table in tables.items()}


def _view(table: Table, shelf: Shelf) -> View:
    query = _text(table.queries, [lexical.signals(each) for each in table.queries], shelf)
    answer = None
    if table.weak_answers is not None:
        pairs = list(zip(table.queries, table.weak_answers, strict=True))
        answer = _text(table.weak_answers, [answers.signals(asked, said) for asked, said in pairs], shelf)
        closeness = (query.vectors * answer.vectors).sum(axis=1, keepdims=True)
        answer = replace(answer, signals=np.hstack([answer.signals, closeness]))
    return View(query=query, answer=answer, agreement=_agreement(table))


def stacked(one: View, other: View) -> View:
    """The queries of both, one after the other, before any answer."""
    first, second = one.query, other.query
    query = Text(
        words=sparse.vstack([first.words, second.words], format="csr"),
        vectors=np.vstack([first.vectors, second.vectors]),
        signals=np.vstack([first.signals, second.signals]),
    )
    return View(query=query)


def word_counts(texts: Sequence[str], buckets: int = BUCKETS) -> sparse.csr_matrix:
    """1 + ln(count) of hashed words and pairs of words, shape (n, buckets)."""
    rows = [lexical.counts(text, buckets) for text in texts]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.fromiter((column for row in rows for column in row), dtype=np.int32, count=starts[-1])
    values = np.fromiter((value for row in rows for value in row.values()), dtype=np.float32, count=starts[-1])
    return sparse.csr_matrix((values, columns, starts), shape=(len(texts), buckets))


def _text(texts: Sequence[str], signals: list[list[float]], shelf: Shelf) -> Text:
    return Text(words=word_counts(texts), vectors=shelf.of(texts), signals=np.array(signals))


def _agreement(table: Table) -> Floats | None:
    """Who agrees with whom, and which letter each model chose (0 where its answer is no letter)."""
    if table.local_preds is None:
        return None
    rows = list(zip(*table.local_preds.values(), strict=True))
    return np.array([answers.agreement(row) + answers.pairs(row) + [_letter(pred) for pred in row] for row in rows])


def _letter(pred: str) -> float:
    final = answers.normalised(pred)
    return float(ord(final) - 64) if len(final) == 1 and final.isalpha() else 0.0
