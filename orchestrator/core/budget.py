"""Money rules: what a call could cost at most, and how a budget stands. Integer nano-dollars only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from orchestrator.core.types import Call, Message
from registry.pricing import upper_bound_nanousd
from registry.schema import Billing, Card

NANOUSD_PER_USD = 10**9

# A provider wraps each turn in role markers; no tokenizer of the priced providers spends more on one.
_TOKENS_PER_MESSAGE = 16
# Anthropic documents up to 530 extra system tokens when tools are given (tool_choice any/tool); OpenAI fewer.
_TOKENS_PER_TOOLSET = 1024
# Upper bound of one image: Anthropic ≤ 1,600 (w*h/750 after scaling), OpenAI high detail ≤ 85 + 170 * 8 tiles;
# newer models scale to larger sides (Anthropic: up to 4,784), so the larger is taken.
_TOKENS_PER_IMAGE = 4_800


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetState:
    """One budget in its current window. `remaining` can be negative only by Σ max(actual − hold, 0)."""

    name: str
    scope: str
    window: str
    limit_nanousd: int
    spent_nanousd: int
    reserved_nanousd: int
    resets_at: datetime | None

    @property
    def remaining_nanousd(self) -> int:
        return self.limit_nanousd - self.spent_nanousd - self.reserved_nanousd


def input_bound_tokens(call: Call) -> int:
    """No byte-level tokenizer makes more tokens than the text has UTF-8 bytes."""
    tokens = sum(_message_bound(message) for message in call.messages)
    tokens += sum(_bytes(text) + _TOKENS_PER_MESSAGE for text in call.texts)
    tokens += len(call.media) * _TOKENS_PER_IMAGE
    if call.options.tools:
        tokens += _TOKENS_PER_TOOLSET + sum(_bytes(repr(dict(tool))) for tool in call.options.tools)
    if call.options.schema is not None:
        tokens += _TOKENS_PER_TOOLSET + _bytes(repr(dict(call.options.schema)))
    return tokens


def hold_nanousd(card: Card, call: Call, at: datetime) -> int:
    """What to reserve before `call`: an upper bound of its cost. Zero only for our own machines.

    Raises registry's `UnpricedModel` when no price is known: an unknown price is a refusal, never zero.
    """
    if card.billing is Billing.NONE:
        return 0
    output = call.max_tokens or card.max_output_tokens or 0
    # Anthropic writes its cache only when asked, and we never ask; others may write, and charge, unasked.
    cache_writes = card.provider != "anthropic"
    return upper_bound_nanousd(card, input_bound_tokens(call), output, at, cache_writes=cache_writes)


def _message_bound(message: Message) -> int:
    calls = sum(_bytes(c.name) + _bytes(c.arguments) + _TOKENS_PER_MESSAGE for c in message.tool_calls)
    return _bytes(message.content) + calls + len(message.images) * _TOKENS_PER_IMAGE + _TOKENS_PER_MESSAGE


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
