"""Zero-shot classes by natural language inference: does the text entail "This text is about X."? No training.

W. Yin et al., "Benchmarking Zero-shot Text Classification", arXiv 1909.00161. Its probabilities are not
calibrated: no weights were at hand to measure them on labelled texts (temperature 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from registry.schema import Card, Task
from workers.encoder.calibration import softmax
from workers.encoder.choice import Choice, chosen
from workers.encoder.inputs import each_item, flag, invalid, require_labels, require_texts
from workers.encoder.model import Model, forward, open_model
from workers.encoder.pooling import Floats
from workers.encoder.tokens import Tokens
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

HYPOTHESIS = "This text is about {label}."
ENTAILMENT, CONTRADICTION = "entailment", "contradiction"
MOST_PAIRS = 10_000  # texts × labels of one call: minutes of work on one core
TEXT_TOKENS = 32  # at least so many must be left for the text beside a label and the special tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """A model of entailment, and which of its logits are which."""

    model: Model
    entailment: int
    contradiction: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Call:
    """One item, checked. Its pairs are every text with every label, label by label within a text."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    multi_label: bool

    def pairs(self) -> Iterator[tuple[str, str]]:
        return product(self.texts, (HYPOTHESIS.format(label=label) for label in self.labels))


def load(card: Card, machine: Machine) -> Inference:
    """Raises WorkerError `invalid_config` where the model's labels do not name entailment and contradiction."""
    model = open_model(card, machine, "logits")
    names = [label.lower() for label in model.labels]
    if not {ENTAILMENT, CONTRADICTION} <= set(names):
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id} has the labels {', '.join(model.labels)}; classify needs {ENTAILMENT} and {CONTRADICTION}",
        )
    return Inference(model=model, entailment=names.index(ENTAILMENT), contradiction=names.index(CONTRADICTION))


def infer(loaded: Inference, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [{"label", "score", "scores": {label: probability}}, …], "calibrated", "tokens", "truncated"}, one
    result per text, the likeliest label first.

    One of options.labels is right: softmax over their entailment. options.multi_label, and one label alone:
    each is judged for itself, entailment against contradiction. Texts too long for the model lose their end,
    and are counted as `truncated`.
    """
    calls = each_item(batch.items, lambda item: _call(loaded.model, item))
    pairs = [pair for call in calls if isinstance(call, _Call) for pair in call.pairs()]
    read = loaded.model.reader.read_pairs(pairs, "only_first")
    logits = forward(loaded.model, read, batch)
    results: list[Result | WorkerError] = []
    start = 0
    for call in calls:
        if isinstance(call, WorkerError):
            results.append(call)
            continue
        rows = slice(start, start + len(call.texts) * len(call.labels))
        start = rows.stop
        results.append(_result(loaded, call, logits[rows], read[rows]))
    return results


def _call(model: Model, item: Item) -> _Call:
    """Raises WorkerError `invalid_input`."""
    texts, labels = require_texts(item, Task.CLASSIFY), require_labels(item)
    if (pairs := len(texts) * len(labels)) > MOST_PAIRS:
        raise invalid(
            f"{len(texts)} texts with {len(labels)} labels are {pairs} pairs, at most {MOST_PAIRS}; send less"
        )
    longest = model.reader.limit - TEXT_TOKENS
    for number, label in enumerate(labels):
        if (tokens := model.reader.length(HYPOTHESIS.format(label=label))) > longest:
            raise invalid(f"options.labels[{number}] has {tokens} tokens, {model.id} takes {longest}; shorten it")
    return _Call(texts=texts, labels=labels, multi_label=flag(item, "multi_label"))


def _result(loaded: Inference, call: _Call, logits: Floats, read: Sequence[Tokens]) -> Result:
    each = len(call.labels)
    cut = [any(pair.cut for pair in read[at : at + each]) for at in range(0, len(read), each)]
    return {
        "results": _choices(loaded, call, logits.reshape(len(call.texts), each, -1)),
        "calibrated": False,
        "tokens": sum(map(len, read)),
        "truncated": sum(cut),
    }


def _choices(loaded: Inference, call: _Call, logits: Floats) -> list[Choice]:
    """logits: (texts, labels, the model's own labels)."""
    if call.multi_label or len(call.labels) == 1:
        shares = softmax(logits[:, :, [loaded.contradiction, loaded.entailment]])[:, :, 1]
    else:
        shares = softmax(logits[:, :, loaded.entailment])
    return [chosen(call.labels, row) for row in np.asarray(shares)]
