"""Every door to the world as a Protocol, and `Deps`, the frozen bundle of doors. No implementation here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from orchestrator.core.budget import BudgetState
from orchestrator.core.contract.watch import Watch
from orchestrator.core.quality.judge import Judge
from orchestrator.core.quality.judge import judge as stated_judge
from orchestrator.core.reading.predict import Predictor
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Call, Caller, Delta, Hold, Inference, Neighbour, Pace, Reply, Strategy
from registry.load import Registry


class Clock(Protocol):
    """Time and ids, so that flow is testable."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...
    def new_id(self) -> UUID:
        """A UUIDv7."""
        ...


class Provider(Protocol):
    """One way to call models. Raises only `CallFailed` and its children; does not retry, choose or default."""

    async def complete(self, call: Call) -> Reply: ...

    def stream(self, call: Call) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        """Streamed answer; the last delta carries the whole reply with its usage. Leaving the context
        early closes the connection."""
        ...

    async def close(self) -> None: ...


class Presence(Protocol):
    """Whether somebody still waits for an answer."""

    def may_leave(self) -> AbstractContextManager[None]:
        """Within, work that costs nothing to throw away is cancelled once nobody waits."""
        ...


class Fleet(Protocol):
    """What can be called right now."""

    def unavailable(self) -> Mapping[str, str]:
        """Models that cannot be called now → one sentence: why not and what makes it available. Cheap."""
        ...

    def registry(self) -> Registry:
        """The cards plus the models that connected servers list."""
        ...

    def pace(self, model_id: str) -> Pace:
        """How this model has been answering in this process, and how long a call would wait now. Cheap."""
        ...

    def measured(self, model_id: str) -> Mapping[str, Any] | None:
        """What our workers know of a model they serve: failed (why the last try did, or None; it may be called all
        the same), loads, load_ms, resident_bytes, queue_wait_ms, batch_items, inference_ms, tokens_per_s, errors by
        code; None where no worker announced it. Cheap."""
        ...

    def contexts(self) -> Mapping[str, int]:
        """Tokens of prompt and answer that loaded local models hold, which may be fewer than their cards say. Cheap."""
        ...

    def observe(self, model_id: str, *, latency_ratio: float, output_ratio: float) -> None:
        """One settled call: measured ÷ stated latency and output tokens. Stated: before any pace corrected it. What
        `wait_ms` foretells (waiting, loading) is left out."""
        ...


class Ledger(Protocol):
    """Money. Every method returns only after its transaction is durable."""

    async def reserve(self, hold: Hold) -> None:
        """All budgets the hold counts on, or none. Raises BudgetExceeded, LedgerUnavailable."""
        ...

    async def finish(self, inference: Inference) -> None:
        """Ends an attempt (settle, release or lapse, by `inference.attempt.ending`) and writes its
        row in one transaction. Idempotent per attempt. Raises LedgerUnavailable."""
        ...

    async def sweep(self, older_than_s: float) -> int:
        """Lapses reservations whose process vanished; returns how many."""
        ...

    async def budgets(self) -> Sequence[BudgetState]: ...

    async def tightest(self, caller: Caller, *, now: bool = False) -> BudgetState | None:
        """The budget that leaves this caller least, as of a few seconds ago (`now`: as it stands); None where none
        counts or it is not known. A hint for planning, and cheap: the law is `reserve`."""
        ...

    async def set_budget(self, name: str, limit_nanousd: int) -> BudgetState: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredText:
    """A text kept with its embedding; `similarity` is set by a search (cosine, 1 = same direction)."""

    id: UUID
    model_id: str
    text: str
    metadata: Mapping[str, Any]
    similarity: float | None = None


class Inferences(Protocol):
    """The log, read. Rows are plain mappings with the columns of `model_inferences`."""

    async def of_request(self, request_id: UUID) -> Sequence[Mapping[str, Any]]: ...
    async def recent(
        self, limit: int, after: UUID | None = None, tenant: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """The newest first; of one tenant, or of all (None: for admins only)."""
        ...

    async def stats(self, since: datetime, tenant: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Per task, model and tier: attempts, accepted, failed, cost_nanousd, p50/p95 latency, tokens; of one
        tenant, or of all (None: for admins only)."""
        ...

    async def ensure_partitions(self) -> Sequence[str]:
        """Makes this and next month's partitions where missing; returns the names made."""
        ...

    async def expire_texts(self, keep_days: int) -> int:
        """Deletes input and output texts older than this; their rows stay. Returns how many."""
        ...


class Embeddings(Protocol):
    async def store(
        self, tenant: str, model_id: str, texts: Sequence[StoredText], vectors: Sequence[Sequence[float]]
    ) -> None: ...

    async def search(self, tenant: str, model_id: str, vector: Sequence[float], limit: int) -> Sequence[StoredText]: ...

    async def newest_model(self, tenant: str) -> str | None:
        """The model whose vectors this tenant stored last (by the ids, which carry their time); None: it has none."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """A key as the database knows it: never the secret, only its hash."""

    id: UUID
    name: str
    tenant: str
    role: str
    scopes: Mapping[str, Any]

    @property
    def caller(self) -> Caller:
        return Caller(key_id=self.id, tenant=self.tenant)


class Keys(Protocol):
    async def find(self, secret_sha256: bytes) -> ApiKey | None: ...
    async def create(self, name: str, tenant: str, role: str, secret_sha256: bytes) -> ApiKey: ...


class Policies(Protocol):
    """Versions of the routing policy, one of them active, and the routing artefacts they score with."""

    async def current(self) -> RoutingPolicy: ...

    async def activate(self, policy: RoutingPolicy, by: str) -> None:
        """Keeps this version where it is new and makes it the active one; every process follows within seconds."""
        ...

    async def change(self, rule: Callable[[RoutingPolicy], RoutingPolicy], by: str) -> RoutingPolicy:
        """Activates what `rule` makes of the active policy, one change at a time over all processes, so that none
        undoes another; the active one where the rule changes nothing. Returns the policy that is active then."""
        ...

    async def predictor(self, version: str | None) -> Predictor:
        """The artefact of this version; None: the one that is shipped. Raises NotFound."""
        ...

    async def keep_predictor(self, artefact: bytes, facts: Mapping[str, Any], by: str) -> str:
        """Keeps an artefact (what `predict.load` reads) and returns its version. Raises InvalidInput."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """One judged request: the quality of each model's answer in [0, 1] (`outcomes`), under the task class and the
    `score` it was routed by, which artefact `scorer` gave. `served` names the model whose answer the caller got;
    `inclusion` is the probability with which this request was chosen to be labelled."""

    id: UUID
    tenant: str
    task_class: str
    outcomes: Mapping[str, float]
    text: str | None = None
    request_id: UUID | None = None
    score: float | None = None
    scorer: str | None = None
    served: str | None = None
    contract_version: str | None = None
    inclusion: float = 1.0
    source: str = "person"
    created_at: datetime | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    """Model → its answer, where texts are kept: what contracts that read the answer are certified on."""


class Labels(Protocol):
    """Judged requests: what contracts are certified on and watched with, and what neighbours know."""

    async def add(self, label: Label) -> bool:
        """Keeps a label; False when one of this id is there already (then nothing changes)."""
        ...

    async def of_class(self, tenant: str | None, task_class: str) -> Sequence[Label]:
        """All labels of a class, oldest first; of one tenant, or of all (None)."""
        ...

    async def with_text(self, limit: int) -> Sequence[Label]:
        """The newest labels that still have their text, of every class and tenant; oldest first."""
        ...

    async def watch(
        self, contract_version: str, observe: Callable[[Watch | None], Watch], once: UUID | None = None
    ) -> Watch:
        """The contract's watch after `observe` has seen one more label; one at a time over all processes. `once` names
        the request it is about: one that this watch has seen is not observed again."""
        ...

    async def watched(self, contract_version: str) -> Watch | None:
        """The contract's watch as it stands; None where no label was held against it."""
        ...


class Neighbours(Protocol):
    """Past prompts with known outcomes, by meaning."""

    async def like(self, tenant: str, text: str, limit: int) -> Sequence[Neighbour]:
        """The nearest first. Never raises and never waits long: empty where nothing is stored, no embedding model
        can be called now, or the answer took too long."""
        ...

    async def learn(self, tenant: str, label: Label) -> None:
        """Keeps the label's text with its outcomes among the neighbours. Without an embedding model it is not kept."""
        ...


class Conversations(Protocol):
    """Which model answered a conversation's last turn. A hint: lost without harm."""

    async def last(self, key: str) -> str | None: ...
    async def remember(self, key: str, model_id: str) -> None: ...


class Overrides(Protocol):
    """Settings kept in the database: name → JSON value."""

    async def all(self) -> Mapping[str, Any]: ...
    async def set(self, name: str, value: Any, by: str) -> None: ...


class Blobs(Protocol):
    async def put(self, data: bytes, content_type: str) -> str:
        """Returns the blob's id."""
        ...

    async def get(self, blob_id: str) -> tuple[bytes, str]:
        """Data and content type. Raises NotFound."""
        ...


class Health(Protocol):
    async def checks(self) -> Mapping[str, Mapping[str, Any]]:
        """name → {ok: bool, required: bool, detail: str, …} for database, redis, each queue, disk, memory."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What bounds a story: seconds, tokens, and whether texts are kept."""

    default_strategy: Strategy = Strategy.HYBRID
    call_timeout_s: float = 60.0
    local_timeout_s: float = 30.0
    default_max_tokens: int = 4096
    store_texts: bool = True
    text_retention_days: int = 30
    hold_lapses_after_s: float = 900.0


@dataclass(frozen=True, kw_only=True)
class Deps:
    """Every door a story may open."""

    clock: Clock
    fleet: Fleet
    providers: Mapping[str, Provider]
    ledger: Ledger
    inferences: Inferences
    embeddings: Embeddings
    keys: Keys
    policies: Policies
    labels: Labels
    neighbours: Neighbours
    conversations: Conversations
    overrides: Overrides
    blobs: Blobs
    health: Health
    judge: Judge = stated_judge
    """Grades replies: a value, not a door; the calibrated one comes from an artefact."""
    live_limits: Callable[[], Limits] = Limits

    @property
    def limits(self) -> Limits:
        """As they stand now: they may change in the database while the process runs."""
        return self.live_limits()
