"""The shape of a card and of what one call used; it must not read files, clocks or the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from registry.engines import Engine
from registry.rates import Frozen, Hours, LongContext, Price, Rates
from registry.words import QUEUES, Billing, Capability, Task, Tier

__all__ = [
    "QUEUES",
    "Billing",
    "Capability",
    "Card",
    "Engine",
    "Hours",
    "LongContext",
    "Prefixes",
    "Price",
    "Rates",
    "Task",
    "Tier",
    "Usage",
    "Variant",
]


class Variant(Frozen):
    """One form in which a model's weights are kept and run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
    """What it is chosen by, and its folder's name: Q4_K_M, fp16, int8, …"""
    format: Literal["onnx", "safetensors", "gguf", "ctranslate2", "paddle", "package", "api"]
    hub_id: str | None = None
    """Where these files lie when it is not the card's own hub_id."""
    files: tuple[str, ...] | None = None
    """Relative to the hub repository, or to where packages are installed for a card with `package`."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """File → digest, for the files whose content is known."""
    bytes: Annotated[int, Field(gt=0)] | None = None
    """All files together."""
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    engine: Engine | None = None
    """What runs it, where its format does not say so already."""
    runtime: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Options of the engine: n_ctx, threads, batch, mmap, …"""

    @property
    def runs_on(self) -> Engine | None:
        """None for a variant that is called over HTTP."""
        return self.engine or _ENGINES.get(self.format)


_ENGINES = {
    "onnx": Engine.ONNXRUNTIME,
    "safetensors": Engine.TRANSFORMERS,
    "gguf": Engine.LLAMA_CPP,
    "ctranslate2": Engine.FASTER_WHISPER,
    "paddle": Engine.PADDLEOCR,
    "package": Engine.BUILTIN,
}


class Prefixes(Frozen):
    """What must stand before a text that is embedded as a query or as a document."""

    query: str = ""
    document: str = ""


class Card(Frozen):
    """One model. A fact that is not known is None and named by `unverified`; nothing is guessed."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]*$")]
    aliases: tuple[str, ...] = ()
    provider: str
    api_model: str | None = None
    """The id sent to the provider; None where the weights run in our own workers."""
    name: str
    tasks: Annotated[tuple[Task, ...], Field(min_length=1)]
    tier: Tier
    roles: tuple[str, ...] = ()
    """What a routing policy may call this model instead of its id: mid, premium, creative, small_llm."""
    queue: str | None = None
    """The Celery queue of the modality; None where a provider is called over HTTP."""
    capabilities: frozenset[Capability] = frozenset()
    billing: Billing
    prices: tuple[Price, ...] = ()
    core: bool = False
    fallback: str | None = None
    """The id of the rung below, used while this model's weights are absent."""

    hub_id: str | None = None
    revision: str | None = None
    package: str | None = None
    """The distribution that carries the weights, as `name==version`."""
    licence: str | None = None
    licence_url: str | None = None
    gated: bool = False
    variants: tuple[Variant, ...] = ()
    memory_bytes: Annotated[int, Field(gt=0)] | None = None
    parameters: Annotated[int, Field(gt=0)] | None = None
    """Weights of the model as its publisher counts them, often rounded: memory is estimated from it."""

    context_tokens: Annotated[int, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(gt=0)] | None = None
    dimensions: Annotated[int, Field(gt=0)] | None = None
    max_sequence_tokens: Annotated[int, Field(gt=0)] | None = None
    pooling: Literal["mean", "cls"] | None = None
    prefixes: Prefixes = Prefixes()
    languages: tuple[str, ...] = ()
    """BCP-47; `mul` for many."""
    regions: tuple[str, ...] | None = None
    """Where the provider keeps the data; None is unknown."""
    quality_prior: Annotated[float, Field(ge=0, le=1)] | None = None
    quality_source: str | None = None
    deprecated: date | None = None
    """The day from which the provider no longer answers it, if a source names one."""
    unsupported_options: tuple[str, ...] = ()
    """Options of a request that the provider answers with an error for this model."""
    sources: tuple[str, ...] = ()
    """Where the facts of this card were read."""
    notes: str | None = None

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        found = (*_contradictions(self), *_price_contradictions(self.prices))
        if found:
            raise ValueError("; ".join(found))
        return self

    @cached_property
    def price_days(self) -> dict[date, tuple[Price, ...]]:
        """A memo of `registry.pricing`: the prices that hold on a day."""
        return {}

    @property
    def unverified(self) -> tuple[str, ...]:
        """The names of the facts that matter for this card and are not known."""
        return tuple(dict.fromkeys(_unknown_facts(self)))


def _contradictions(card: Card) -> Iterator[str]:
    paid = card.billing is Billing.TOKENS
    if paid and card.tier.rank < Tier.MID.rank:
        yield f"billing is tokens, but tier {card.tier} runs on our own machine"
    if not paid and card.tier.rank >= Tier.MID.rank:
        yield f"tier {card.tier} is paid, but billing is none"
    if not paid and card.prices:
        yield "billing is none, but there are prices"
    if paid and card.api_model is None:
        yield f"tier {card.tier} needs api_model, the id that is sent to the provider"
    if paid and card.queue is not None:
        yield f"a paid model has no queue, got {card.queue!r}"
    if not paid and (card.queue is None) == (card.api_model is None):
        yield "a local model needs either queue (our worker) or api_model (a local server), and not both"
    if card.queue is not None and card.queue not in QUEUES:
        yield f"queue is one of {', '.join(QUEUES)}, got {card.queue!r}"
    if Task.EMBED in card.tasks and card.dimensions is None:
        yield "an embedding model needs dimensions"
    if card.quality_prior is not None and not card.quality_source:
        yield "quality_prior needs quality_source, where it was read"
    if card.package is not None and "==" not in card.package:
        yield f"package is written as name==version, got {card.package!r}"
    if card.fallback == card.id:
        yield "fallback names the card itself"
    yield from _variant_contradictions(card)


def _variant_contradictions(card: Card) -> Iterator[str]:
    names = [variant.name for variant in card.variants]
    if len(set(names)) < len(names):
        yield f"variants need different names, got {', '.join(names)}"
    for variant in card.variants:
        for file in variant.files or ():
            if file.startswith("/") or "\\" in file or ".." in file.split("/"):
                yield f"variants.{variant.name}: {file!r} leaves its folder"
        strangers = sorted(set(variant.sha256) - set(variant.files or ()))
        if strangers:
            yield f"variants.{variant.name}: sha256 names {', '.join(strangers)}, which is none of its files"


def _price_contradictions(prices: tuple[Price, ...]) -> Iterator[str]:
    """One price a UTC day, beside it any number that name hours which do not overlap; None comes first."""
    days = [price.effective or date.min for price in prices]
    if days != sorted(days):
        yield "prices must be sorted by effective, the undated one first"
    for day in sorted(set(days)):
        of_day = [price for price in prices if (price.effective or date.min) == day]
        whole = sum(price.hours_utc is None for price in of_day)
        if whole != 1:
            name = of_day[0].effective or "no date"
            yield f"effective {name} needs exactly one price without hours_utc, found {whole}"
        spans = [price.hours_utc for price in of_day if price.hours_utc is not None]
        if any(one.contains(other.start) for one in spans for other in spans if one is not other):
            yield f"effective {of_day[0].effective or 'no date'} has hours_utc that overlap"


def _unknown_facts(card: Card) -> Iterator[str]:
    facts: list[str] = ["quality_prior"]
    if card.billing is Billing.TOKENS:
        facts += ["prices", "context_tokens", "max_output_tokens", "regions"]
    else:
        facts += ["licence"] + (["revision", "memory_bytes"] if card.hub_id else [])
    if Task.GENERATE in card.tasks:
        facts.append("context_tokens")
    if Task.EMBED in card.tasks:
        facts += ["max_sequence_tokens", "pooling"]
    yield from (name for name in facts if getattr(card, name) in (None, ()))
    if card.hub_id:
        for variant in card.variants:
            yield from (
                f"variants.{variant.name}.{name}" for name in ("files", "bytes", "sha256") if not getattr(variant, name)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of one call, each counted once; reasoning is a part of output, told for information."""

    input_tokens: int = 0
    """Input neither read from nor written to a cache."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __post_init__(self) -> None:
        for name in _COUNTS:  # on the path of every call: named once, not asked of the class each time
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"{name} must be a whole number of tokens, at least 0; got {value!r}")

    @property
    def total_input_tokens(self) -> int:
        """Every token the model read: what a long-context threshold is compared with."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.cache_write_1h_tokens


_COUNTS = tuple(field.name for field in fields(Usage))
