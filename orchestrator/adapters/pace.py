"""How models have been answering in this process, and how long a call would wait on a local queue. Arithmetic on
what others measured and read: it opens nothing and waits for nothing.

A process starts without a past. The log holds what attempts took and what was predicted, but under the pace and the
policy of that day and with the waiting in it: a ratio read from it would be corrected twice. Twenty calls teach the
same, about this machine as it is now.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from statistics import fmean
from typing import Any

from orchestrator.core.types import Pace
from registry.schema import Card

MEMORY_CALLS = 20  # in the long run a call weighs a twentieth
STATED_CALLS = 5  # what was stated counts as so many calls, so that the first one does not decide alone
LEAST, MOST = 0.1, 20.0  # bounds of one observation: beyond them it was an accident, or the prediction was

# Until a model was loaded or has answered here. Seen cold on two cores: MiniLM 91 MB 1.1 s, OCR 32 MB 2.1 s.
_IMPORTS_MS = 500.0
_BYTES_PER_MS = 100_000  # 100 MB/s: read, hashed, unpacked
_UNMEASURED_MESSAGE_MS = 1_000.0

Models = Mapping[str, Mapping[str, Any]]


class Paces:
    """Per model a moving geometric mean of measured ÷ stated: one wild call moves it little (a factor of 20 by 65%
    at first, by 16% later) and slow and fast count alike. It says what is typical, not the mean of a long tail."""

    def __init__(self) -> None:
        self._slowness: dict[str, _Ratio] = {}
        self._verbosity: dict[str, _Ratio] = {}

    def observe(self, model_id: str, *, latency_ratio: float, output_ratio: float) -> None:
        """One settled call, against what is stated for the model: against a prediction that was already corrected
        by its pace, the ratio would settle half-way. What is no number says nothing."""
        self._slowness.setdefault(model_id, _Ratio()).observe(latency_ratio)
        self._verbosity.setdefault(model_id, _Ratio()).observe(output_ratio)

    def of(self, model_id: str, wait_ms: float = 0.0) -> Pace:
        slowness, verbosity = self._slowness.get(model_id), self._verbosity.get(model_id)
        if slowness is None or verbosity is None:
            return Pace(wait_ms=wait_ms)
        return Pace(wait_ms=wait_ms, slowness=slowness.value, verbosity=verbosity.value)


class _Ratio:
    """The mean's logarithm and the calls behind it."""

    __slots__ = ("_calls", "_log", "value")

    def __init__(self) -> None:
        self._log, self._calls = 0.0, STATED_CALLS
        self.value = 1.0

    def observe(self, ratio: float) -> None:
        if math.isnan(ratio):
            return
        self._calls = min(self._calls + 1, MEMORY_CALLS)
        self._log += (math.log(min(MOST, max(LEAST, ratio))) - self._log) / self._calls
        self.value = math.exp(self._log)


def wait_ms(card: Card, workers: Collection[Models], messages: int) -> float:
    """Until a call would begin: the messages before it, shared by the workers of its queue, and the load of the
    model where none of them holds it. `workers`: what each announced of its models; `messages`: waiting and in work.

    Messages of the queue's other models are taken to last as long as this one's.
    """
    states = [models[card.id] for models in workers if card.id in models]
    each_ms = _mean(states, "inference_ms", _UNMEASURED_MESSAGE_MS)
    ahead_ms = messages * each_ms / max(1, len(workers))
    loaded = any(state.get("loaded") for state in states)
    return ahead_ms if loaded else ahead_ms + _mean(states, "load_ms", _stated_load_ms(card))


def _mean(states: Collection[Mapping[str, Any]], name: str, unmeasured: float) -> float:
    """Workers of an earlier version announce less."""
    measured = [float(state[name]) for state in states if state.get(name) is not None]
    return fmean(measured) if measured else unmeasured


def _stated_load_ms(card: Card) -> float:
    sizes = [variant.bytes for variant in card.variants if variant.bytes is not None]
    return _IMPORTS_MS + (sizes[0] if sizes else card.memory_bytes or 0) / _BYTES_PER_MS
