"""Money rules: what a call could cost at most, and how a budget stands. Integer nano-dollars only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from orchestrator.core.types import Call, Caller, Message
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
# These count an image by larger units: GPT-4o mini by 2,833 + 5,667 a tile, at most 8 tiles.
_TOKENS_PER_IMAGE_OF: Mapping[str, int] = {"gpt-4o-mini": 48_200}
# Binary search over 0 … 2^20 output tokens; no card answers with more.
_MOST_OUTPUT_TOKENS = 1 << 20


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


def tightest(budgets: Iterable[BudgetState], caller: Caller) -> BudgetState | None:
    """Of the budgets that count for this caller, the one with the least left."""
    counted = [budget for budget in budgets if budget.scope in ("global", f"tenant:{caller.tenant}")]
    return min(counted, key=lambda budget: budget.remaining_nanousd, default=None)


def input_bound_tokens(call: Call) -> int:
    """No byte-level tokenizer makes more tokens than the text has UTF-8 bytes."""
    per_image = _TOKENS_PER_IMAGE_OF.get(call.model_id, _TOKENS_PER_IMAGE)
    images = len(call.media) + sum(len(message.images) for message in call.messages)
    tokens = images * per_image + sum(_message_bound(message) for message in call.messages)
    tokens += sum(_bytes(text) + _TOKENS_PER_MESSAGE for text in call.texts)
    if call.options.tools:
        tokens += _TOKENS_PER_TOOLSET + sum(_json_bytes(tool) for tool in call.options.tools)
    if call.options.schema is not None:
        tokens += _TOKENS_PER_TOOLSET + _json_bytes(call.options.schema)
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


def affordable_output_tokens(card: Card, call: Call, left_nanousd: int, at: datetime) -> int:
    """The largest `max_tokens` with which `call` cannot cost more than `left_nanousd`; 0 where none can."""

    def fits(tokens: int) -> bool:
        return hold_nanousd(card, replace(call, max_tokens=tokens), at) <= left_nanousd

    least, most = 0, min(call.max_tokens or _MOST_OUTPUT_TOKENS, card.max_output_tokens or _MOST_OUTPUT_TOKENS)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(middle) else (least, middle - 1)
    return least


def _message_bound(message: Message) -> int:
    calls = sum(_bytes(c.id) + _bytes(c.name) + _bytes(c.arguments) + _TOKENS_PER_MESSAGE for c in message.tool_calls)
    answers = _bytes(message.tool_call_id or "")
    return _bytes(message.content) + calls + answers + _TOKENS_PER_MESSAGE


def _json_bytes(value: Mapping[str, Any]) -> int:
    """As the longest way to write it: a provider shows it to its model as text of its own making."""
    return _bytes(json.dumps(dict(value)))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
