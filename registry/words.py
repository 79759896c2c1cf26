"""The closed sets of words a card is written in; it must not hold a model, a price or a rule."""

from __future__ import annotations

from enum import StrEnum

QUEUES = (
    "embeddings",
    "rerank",
    "sentiment",
    "toxicity",
    "classify",
    "ocr",
    "document",
    "vision",
    "audio",
    "llm",
)


class Task(StrEnum):
    """What a caller may ask for."""

    GENERATE = "generate"
    EMBED = "embed"
    RERANK = "rerank"
    SENTIMENT = "sentiment"
    TOXICITY = "toxicity"
    CLASSIFY = "classify"
    OCR = "ocr"
    DOCUMENT = "document"
    VISION = "vision"
    TRANSCRIBE = "transcribe"


class Tier(StrEnum):
    """The order in which models are climbed; not a price."""

    BUILTIN = "builtin"
    LOCAL = "local"
    MID = "mid"
    PREMIUM = "premium"

    @property
    def rank(self) -> int:
        """0 for builtin up to 3 for premium."""
        return _RANKS[self]


_RANKS = {tier: rank for rank, tier in enumerate(Tier)}


class Capability(StrEnum):
    """What a request may need of a model; `creative` and `code` are our choice for routing, not measured."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    VISION = "vision"
    STREAMING = "streaming"
    LOGPROBS = "logprobs"
    AUDIO = "audio"
    SYSTEM = "system"
    CREATIVE = "creative"
    CODE = "code"
    REASONING = "reasoning"


class Billing(StrEnum):
    """Who is paid: a provider per token, or nobody because the model runs on our own machine."""

    TOKENS = "tokens"
    NONE = "none"
