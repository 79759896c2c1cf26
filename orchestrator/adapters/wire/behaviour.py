"""What a request to the wire server meets, the script of it, the counts; it must know no protocol."""

from __future__ import annotations

import random
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.core.errors import InvalidInput

Act = Literal["answer", "error", "hang", "drop", "cut", "garbage"]


class WireUsage(BaseModel):
    """Token counts to report as they stand; a field left None is derived (see answers.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: Annotated[int, Field(ge=0)] | None = None
    cache_read_tokens: Annotated[int, Field(ge=0)] = 0
    cache_write_tokens: Annotated[int, Field(ge=0)] = 0
    cache_write_1h_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0


class ToolUse(BaseModel):
    """The tool call to answer with; `arguments` is sent as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    arguments: dict[str, Any] = {}


class Behaviour(BaseModel):
    """What a request meets. `do`: answer · error (with `status`) · hang (accept, never answer) · drop (close
    before any byte) · cut (a stream after `after_events` events, else half a body) · garbage (no JSON)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Act = "answer"
    model: str | None = None
    """Only requests for this model; None: any."""
    times: Annotated[int, Field(ge=1)] | None = 1
    """How many requests it serves before it is used up; None: for ever."""

    text: str | None = None
    """The answer's text; None: replayed, else an instance of the schema asked for, else synthetic."""
    echo: bool = False
    """Answer with the last user message, marked as an echo."""
    tools: tuple[ToolUse, ...] = ()
    finish: Literal["stop", "length", "tool_calls", "refusal"] | None = None
    usage: WireUsage = WireUsage()
    usage_mode: Literal["derived", "full"] = "derived"
    """full: output_tokens is the request's max_tokens, as the dearest answer would count."""

    logprob: Annotated[float, Field(le=0)] = -0.5
    """Of every token, where the request asks for log-probabilities: synthetic, no model stands behind it."""

    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    """Before the first byte."""
    event_ms: Annotated[float, Field(ge=0)] = 0.0
    """Between the events of a stream; 0 sends them in one write."""

    status: Annotated[int, Field(ge=400, le=599)] = 500
    message: str | None = None
    """The provider's message of an error; None: one that names the status."""
    retry_after: str | None = None
    """The Retry-After header: seconds or an HTTP date."""
    after_events: Annotated[int, Field(ge=0)] = 1
    body: str | None = None
    """The body of `garbage`; None: a piece of broken JSON."""

    fail_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """This share of requests, drawn with the server's seed, gets `status` instead."""

    @classmethod
    def read(cls, value: Any) -> Behaviour:
        """From JSON. Raises InvalidInput that names the wrong field."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "behaviour"
            raise InvalidInput(
                f"behaviour: {where}: {first['msg']}; got {first['input']!r}. Known fields: "
                f"{', '.join(cls.model_fields)}",
                field=where,
            ) from error


class Script:
    """Behaviours in the order they are met: the first that fits the model serves, then the default."""

    def __init__(self, default: Behaviour | None = None, seed: int = 0) -> None:
        self._start = default or Behaviour(times=None)
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        self.default = self._start
        self._lines: list[tuple[Behaviour, int | None]] = []
        self._dice = random.Random(self._seed)  # noqa: S311 - a repeatable share of failures, nothing secret

    def append(self, *behaviours: Behaviour) -> None:
        self._lines.extend((behaviour, behaviour.times) for behaviour in behaviours)

    @property
    def remaining(self) -> int:
        """Scripted behaviours not yet used up."""
        return len(self._lines)

    def next(self, model: str) -> Behaviour:
        behaviour = self._take(model) if self._lines else self.default
        if behaviour.fail_share and self._dice.random() < behaviour.fail_share:
            return behaviour.model_copy(update={"do": "error"})
        return behaviour

    def _take(self, model: str) -> Behaviour:
        for place, (behaviour, left) in enumerate(self._lines):
            if behaviour.model not in (None, model):
                continue
            if left == 1:
                del self._lines[place]
            elif left is not None:
                self._lines[place] = (behaviour, left - 1)
            return behaviour
        return self.default


class Counts:
    """What the server did, per model: requests = answered + refused + failed + cut + left + still open.

    refused: 4xx and 529 (no work was done) · failed: other 5xx, dropped, garbage · cut: streams broken on
    purpose · left: the client went away first (of a hang too) · *_tokens: those of answered requests."""

    FIELDS = ("requests", "answered", "refused", "failed", "cut", "left", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self._models: dict[str, Counter[str]] = {}

    def add(self, model: str, field: str, count: int = 1) -> None:
        of_model = self._models.get(model)
        if of_model is None:
            of_model = self._models[model] = Counter()
        of_model[field] += count

    def as_dict(self) -> dict[str, dict[str, int]]:
        """`total` and, under `models`, each model → its counts."""
        models = {model: {f: counter[f] for f in self.FIELDS} for model, counter in sorted(self._models.items())}
        total = {f: sum(counts[f] for counts in models.values()) for f in self.FIELDS}
        return {"total": total, "models": models}  # type: ignore[dict-item]

    def reset(self) -> None:
        self._models.clear()
