"""The only room that names adapters: settings in, open doors out, closed again in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.artefacts import shipped_judge, shipped_predictor, trained_on
from orchestrator.adapters.blobs import FolderBlobs
from orchestrator.adapters.cached import CachedKeys, CachedPolicies
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.fleet import LiveFleet
from orchestrator.adapters.health import LiveHealth
from orchestrator.adapters.live_settings import LiveSettings
from orchestrator.adapters.memory import MemoryPolicies
from orchestrator.adapters.memory_learning import MemoryLabels
from orchestrator.adapters.postgres.database import Database, reach, store_errors
from orchestrator.adapters.postgres.labels import PostgresLabels
from orchestrator.adapters.postgres.ledger import PostgresLedger
from orchestrator.adapters.postgres.migrate import MigrationReport
from orchestrator.adapters.postgres.migrate import migrate as apply_migrations
from orchestrator.adapters.postgres.neighbours import PostgresNeighbours
from orchestrator.adapters.postgres.stores import (
    PostgresEmbeddings,
    PostgresInferences,
    PostgresKeys,
    PostgresOverrides,
    PostgresPolicies,
)
from orchestrator.adapters.prompt_vectors import PromptVectors
from orchestrator.adapters.providers.anthropic import AnthropicProvider
from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.adapters.providers.openai_like import OpenAILikeProvider
from orchestrator.adapters.providers.plain import PlainProvider
from orchestrator.adapters.redis.conversations import RedisConversations
from orchestrator.adapters.redis.fleet import FleetReader
from orchestrator.core.errors import ConfigError
from orchestrator.core.quality.judge import Judge
from orchestrator.core.reading.predict import Predictor
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.ports import ApiKey, Clock, Deps, Label, Labels, Limits, Policies, Provider
from orchestrator.settings import Settings, environment_name
from registry.load import Registry, load


@asynccontextmanager
async def open_deps(settings: Settings) -> AsyncIterator[Deps]:
    """Every door, open. Raises ConfigError when the database or Redis is not named."""
    if not settings.database_url or not settings.redis_url:
        raise ConfigError("DATABASE_URL and REDIS_URL are needed here. `pennyroute up` starts both by itself.")
    registry = open_registry(settings)
    async with AsyncExitStack() as stack:
        database = Database(settings.database_url)
        await database.open()
        stack.push_async_callback(database.close)
        overrides = PostgresOverrides(database)
        live = LiveSettings(settings, settings.over, overrides.all)
        await live.start()
        stack.push_async_callback(live.close)
        ledger = PostgresLedger(settings.database_url, database)
        await ledger.open()
        stack.push_async_callback(ledger.close)
        workers = FleetReader(settings.redis_url)
        await workers.start()
        stack.push_async_callback(workers.close)
        conversations = RedisConversations(settings.redis_url)
        stack.push_async_callback(conversations.close)
        queue = LocalQueueProvider(settings.redis_url, registry)
        stack.push_async_callback(queue.close)
        fleet = LiveFleet(registry, workers, _keys_wanted(settings), settings.open_servers, queue.held_ms)
        await fleet.start()
        stack.push_async_callback(fleet.close)
        providers = _providers(settings, registry, queue)
        for provider in set(providers.values()) - {queue}:
            stack.push_async_callback(provider.close)
        neighbours = PostgresNeighbours(database, PromptVectors(fleet, providers))
        stack.push_async_callback(neighbours.close)
        yield Deps(
            clock=SystemClock(),
            fleet=fleet,
            providers=providers,
            ledger=ledger,
            inferences=PostgresInferences(database),
            embeddings=PostgresEmbeddings(database),
            keys=CachedKeys(PostgresKeys(database)),
            policies=CachedPolicies(PostgresPolicies(database)),
            labels=PostgresLabels(database),
            neighbours=neighbours,
            conversations=conversations,
            overrides=overrides,
            blobs=FolderBlobs(settings.data_dir / "blobs"),
            judge=shipped_judge(),
            health=LiveHealth(overrides.all, workers, settings.data_dir),
            live_limits=limits_of(live),
        )


async def migrate(database_url: str, *, allow_out_of_order: bool = False) -> MigrationReport:
    """Brings a database to the newest migration. Raises MigrationRefused, MigrationFailed, StoreUnavailable."""
    await reach(database_url)
    with store_errors():
        return await apply_migrations(database_url, allow_out_of_order=allow_out_of_order)


async def create_key(database_url: str, name: str, tenant: str, role: str, secret_sha256: bytes) -> ApiKey:
    """For the first key of a database, when no API can be asked yet. Raises StoreUnavailable."""
    async with _database(database_url) as database:
        return await PostgresKeys(database).create(name, tenant, role, secret_sha256)


async def ledger_disagreements(database_url: str) -> Sequence[Mapping[str, Any]]:
    """Every way the books disagree, as {subject, finding}; empty when they add up. Raises StoreUnavailable."""
    async with _database(database_url) as database:
        return await database.rows("ledger_disagreements")


async def kept_policy(database_url: str, version: str | None) -> RoutingPolicy:
    """A version of the routing policy; None: the active one. Raises NotFound, ConfigError, StoreUnavailable."""
    async with _database(database_url) as database:
        policies = PostgresPolicies(database)
        return await policies.current() if version is None else await policies.of_version(version)


async def policy_versions(database_url: str) -> Sequence[Mapping[str, Any]]:
    """Every version kept, the newest first: version, name, created_at, created_by, active. Raises StoreUnavailable."""
    async with _database(database_url) as database:
        return await database.rows("policy_versions")


async def predictor_of(policy: RoutingPolicy, database_url: str | None) -> Predictor:
    """The artefact a policy scores with: the shipped one, or a kept one. Raises NotFound, ConfigError."""
    shipped = shipped_predictor()
    if policy.scorer in (None, shipped.version):
        return shipped
    if database_url is None:
        raise ConfigError(
            f"policy {policy.name!r} scores with artefact {policy.scorer!r}, which only its database has."
        )
    async with _database(database_url) as database:
        return await PostgresPolicies(database).predictor(policy.scorer)


async def kept_labels(database_url: str, classes: Iterable[str], tenant: str | None = None) -> list[Label]:
    """The labels of these task classes; of one tenant, or of all (None). Raises StoreUnavailable."""
    async with _database(database_url) as database:
        labels = PostgresLabels(database)
        return [label for task_class in classes for label in await labels.of_class(tenant, task_class)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """The doors that certifying opens (`flow/certify.py`)."""

    clock: Clock
    labels: Labels
    policies: Policies
    judge: Judge


@asynccontextmanager
async def open_desk(database_url: str | None) -> AsyncIterator[Desk]:
    """On this database; None: on nothing, where only a dry run makes sense. Raises StoreUnavailable, ConfigError."""
    if database_url is None:
        yield Desk(clock=SystemClock(), labels=MemoryLabels(), policies=MemoryPolicies(), judge=shipped_judge())
        return
    async with _database(database_url) as database:
        labels, policies = PostgresLabels(database), PostgresPolicies(database)
        yield Desk(clock=SystemClock(), labels=labels, policies=policies, judge=shipped_judge())


def shipped() -> tuple[Predictor, Judge]:
    """The artefacts that come with this version. Raises InvalidInput when they cannot be read."""
    return shipped_predictor(), shipped_judge()


def seen_in_training(datasets: Iterable[str]) -> list[str]:
    """Those of these data sets whose outcomes the shipped predictor was trained on: figures on them flatter it."""
    return sorted(trained_on() & set(datasets))


def unavailable_alone(settings: Settings, registry: Registry) -> dict[str, str]:
    """What cannot be called where nothing runs: local models, and paid ones without a key. Asks nobody."""
    wanted = _keys_wanted(settings)
    here = "its worker starts with `pennyroute up`"
    missing = {card.id: here if card.queue else wanted.get(card.provider) for card in registry.cards.values()}
    return {model_id: why for model_id, why in missing.items() if why is not None}


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    await reach(url)
    database = Database(url, max_size=1)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def open_registry(settings: Settings) -> Registry:
    """The cards this installation may use. A licence restriction is about weights that run here."""
    return load(licences=(*settings.licences, "proprietary") if settings.licences else None)


def limits_of(live: LiveSettings[Settings]) -> Callable[[], Limits]:
    def limits() -> Limits:
        now = live.current
        return Limits(**{name: getattr(now, name) for name in Limits.__dataclass_fields__})

    return limits


def _keys_wanted(settings: Settings) -> Mapping[str, str | None]:
    """Paid provider → None when its key is set, else what to do."""
    wanted = {}
    for provider in ("anthropic", "openai", "deepseek"):
        name = f"{provider}_api_key"
        missing = f"set {environment_name(name)} (environment) or {name} (pennyroute.toml)"
        wanted[provider] = None if getattr(settings, name) else missing
    return wanted


def _providers(settings: Settings, registry: Registry, queue: LocalQueueProvider) -> dict[str, Provider]:
    """One adapter per provider that has a key or an address; the queue serves every local card."""
    providers: dict[str, Provider] = {card.provider: queue for card in registry.cards.values() if card.queue}
    if settings.anthropic_api_key:
        key = settings.anthropic_api_key.get_secret_value()
        providers["anthropic"] = AnthropicProvider(key, settings.anthropic_base_url)
    if settings.openai_api_key:
        key = settings.openai_api_key.get_secret_value()
        providers["openai"] = OpenAILikeProvider(key, settings.openai_base_url, "openai")
    if settings.deepseek_api_key:
        key = settings.deepseek_api_key.get_secret_value()
        providers["deepseek"] = OpenAILikeProvider(key, settings.deepseek_base_url, "deepseek")
    for name, address in settings.open_servers.items():
        providers[name] = OpenAILikeProvider(None, address, "server", provider=name)
    if settings.provider_transport == "auto":
        for name, provider in providers.items():
            if isinstance(provider, AnthropicProvider | OpenAILikeProvider):
                providers[name] = PlainProvider(provider)
    return providers
