"""The values that travel through every floor. Data only: no I/O, no clock, no rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from math import inf
from typing import Any
from uuid import UUID

from orchestrator.core.errors import BudgetExceeded
from registry.schema import Task, Tier, Usage

_NO_USAGE = Usage()


class Strategy(StrEnum):
    """Which tiers a request may use, and in which order."""

    HYBRID = "hybrid"  # the routing policy decides
    LOCAL_ONLY = "local_only"  # never a paid call
    PREMIUM_ONLY = "premium_only"  # the premium tier, nothing else (alias: claude_only)
    LOCAL_FALLBACK = "local_fallback"  # paid tiers first; when they fail or the budget is spent, local answers


class Complexity(StrEnum):
    """The class a request is read as; the routing policy maps it to tiers."""

    SIMPLE = "simple"
    MEDIUM = "medium"
    HIGH = "high"
    CREATIVE = "creative"
    PREMIUM_BRAND = "premium_brand"


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """An image or a recording: its bytes and their media type (`image/png`, `audio/wav`)."""

    content_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A tool the model asked for; `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str
    images: tuple[Media, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to answer. `schema` is a JSON schema the output must validate against; `tools` are
    JSON objects `{"name", "description", "parameters"}`; `labels` are for classify and vision.

    embed: `dimensions` cuts vectors. classify: `multi_label` judges each label alone. vision: `compare` measures each
    image against the others, `profile` against a brand's texts. transcribe: `timestamps` is segment or word,
    `translate` answers in English."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    schema: Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | None = None
    labels: tuple[str, ...] = ()
    language: str | None = None
    top_n: int | None = None
    dimensions: int | None = None
    multi_label: bool = False
    compare: bool = False
    profile: Mapping[str, Any] | None = None
    timestamps: str | None = None
    translate: bool = False

    def without(self, names: Collection[str]) -> Options:
        """These options less the ones a model answers with an error."""
        dropped: dict[str, Any] = {name: None for name in ("temperature", "top_p", "top_k", "seed") if name in names}
        return replace(self, **dropped) if dropped else self


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraints:
    """What the answer must keep: quality in [0, 1], cost for the whole request, time from arrival, and where a
    provider may keep the data."""

    min_quality: float | None = None
    max_cost_nanousd: int | None = None
    deadline_ms: int | None = None
    tiers: frozenset[Tier] | None = None
    regions: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks: the API key's id and its tenant."""

    key_id: UUID | None = None
    tenant: str = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One validated request. Chat tasks fill `messages`, text tasks `texts` (rerank also `query`),
    media tasks `media`. `model` names a card and skips routing."""

    id: UUID
    task: Task
    messages: tuple[Message, ...] = ()
    texts: tuple[str, ...] = ()
    query: str | None = None
    media: tuple[Media, ...] = ()
    options: Options = Options()
    constraints: Constraints = Constraints()
    strategy: Strategy = Strategy.HYBRID
    model: str | None = None
    caller: Caller = Caller()
    user: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    task_class: str | None = None
    """What kind of work this is, in the app's own words ("support-reply"): quality contracts are made per class.
    Without one, the class is the complexity the request is read as."""
    rule: str | None = None
    """The operator's rule this request was put under."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call of one model, as a provider adapter receives it. `api_model` is the provider's own id;
    `max_tokens` is always set for generate (it bounds the hold)."""

    attempt_id: UUID
    model_id: str
    api_model: str
    task: Task
    messages: tuple[Message, ...] = ()
    texts: tuple[str, ...] = ()
    query: str | None = None
    media: tuple[Media, ...] = ()
    options: Options = Options()
    max_tokens: int | None = None
    timeout_s: float = 60.0


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a model answered. `text` for generate; `data` for the other tasks (JSON-like values; an
    embedding batch is a float32 array of shape (n, dimensions)). Usage is as the provider counts it;
    `mean_logprob` is per token of the text, 0 or less, where the runtime told it."""

    usage: Usage
    text: str | None = None
    data: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    provider_request_id: str | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    mean_logprob: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What a local model says of how it answered: `truncated` (texts it read only in part), `dropped_turns` (the
    oldest, which its context did not hold), `calibrated` (whether its scores are probabilities that were measured)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delta:
    """One piece of a streamed answer; the last piece carries `reply`, whole, with its usage."""

    text: str = ""
    reply: Reply | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What can be read off a request without a model. Token counts are estimates, never bounds."""

    tokens: int
    characters: int
    sentences: int
    constraints: int
    turns: int
    code: float
    maths: float
    creative: float
    brand: float
    reasoning: float
    ambiguity: float
    question: bool
    plain_ask: bool
    structured: bool
    tools: bool
    images: int
    language: str

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How a model has been answering here: `wait_ms` until a call would begin (queue ahead of it, weights still to
    load), and the ratio of what was measured to what was predicted, for time and for output tokens (1 = as stated)."""

    wait_ms: float = 0.0
    slowness: float = 1.0
    verbosity: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """A past prompt with known outcomes: model id → adequacy of its answer in [0, 1]; cosine similarity in [-1, 1]."""

    similarity: float
    outcomes: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Predicted before calling: P(adequate), output tokens, cost and latency of one candidate."""

    model_id: str
    p_adequate: float
    output_tokens: int
    cost_nanousd: int
    latency_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One step of a plan: call the model, accept its answer at `threshold` quality or above. A `fallback` rung is
    there for failures only: an answer that is not good enough is not a reason to pay for it."""

    model_id: str
    threshold: float
    fallback: bool = False
    compared: int = 0
    """So many earlier answers must be there to compare with, or this one is not accepted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What the quality contract of a request's task class said of it. `kept` is False where the plan cannot keep it
    (its reference may not be called). One that reads the query has the request's `score`, and where it is certified
    its `threshold`; one that reads the answer has the grade above which it accepts as `threshold`."""

    task_class: str
    state: str
    epsilon: float
    delta: float
    weak: str
    reference: str
    version: str
    kept: bool
    scorer: str | None = None
    reads: str = "query"
    score: float | None = None
    threshold: float | None = None
    more_labels: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values. An infinite threshold (every request may go to the weak model) is left out as null."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**told, "threshold": self.threshold if self.threshold not in (inf, -inf) else None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An ordered ladder of models with the reason it was chosen, in words. `quality` (probability that the served
    answer is adequate), `cost_nanousd` and `latency_ms` are what the plan is predicted to reach and to take."""

    rungs: tuple[Rung, ...]
    complexity: Complexity
    reason: str
    propensity: float = 1.0
    quality: float | None = None
    cost_nanousd: int | None = None
    latency_ms: int | None = None
    promise: Promise | None = None
    beyond: BudgetExceeded | None = None
    """What a budget kept out of the plan, told where everything in it fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Everything needed to replay why a plan was chosen; logged with every attempt."""

    plan: Plan
    features: Features | None
    scores: tuple[Score, ...]
    registry_version: str
    policy_version: str
    scorer: str | None = None
    neighbours: tuple[Neighbour, ...] = ()
    took_ms: float = 0.0
    """Features, scores and plan, waits for neighbours and conversation included."""


class Ending(StrEnum):
    """How an attempt's money ended: known cost, provably unbilled, or unknown (counts as spent)."""

    SETTLED = "settled"
    RELEASED = "released"
    LAPSED = "lapsed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """Money set aside before a paid call, an upper bound of its cost, and the budgets' scopes it counts on."""

    attempt_id: UUID
    request_id: UUID
    amount_nanousd: int
    model_id: str
    provider: str
    task: Task
    caller: Caller
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityScore:
    """Grade of a reply in [0, 1] and the signals it came from (name → value in [0, 1])."""

    value: float
    signals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One paid or local call on one rung, after it ended. `error_code` is None when it answered."""

    id: UUID
    rung: int
    model_id: str
    tier: Tier
    ending: Ending
    hold_nanousd: int
    cost_nanousd: int
    latency_ms: float
    usage: Usage = _NO_USAGE
    quality: QualityScore | None = None
    accepted: bool = False
    error_code: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    """One row of `model_inferences`: an attempt, the decision behind it, and (apart) its texts."""

    attempt: Attempt
    request: Request
    decision: Decision
    provider: str
    created_at: datetime
    finish_reason: FinishReason | None = None
    input_text: str | None = None
    output_text: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the caller gets: the accepted reply and the whole story of how it came about."""

    request: Request
    reply: Reply
    decision: Decision
    attempts: tuple[Attempt, ...]
    answered_by: Attempt
    latency_ms: float

    @property
    def cost_nanousd(self) -> int:
        """Of all attempts: a lapsed one counts with its hold, as the ledger counts it."""
        return sum(a.cost_nanousd for a in self.attempts)
