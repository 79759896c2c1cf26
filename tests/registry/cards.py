"""Hand-made cards for the tests of the registry; it must not read the shipped ones."""

from __future__ import annotations

from typing import Any

from registry.schema import Card, Price

SONNET_LIKE: dict[str, Any] = {
    "effective": "2026-01-01",
    "source": "https://example.com/prices",
    "checked": "2026-11-20",
    "input_usd": "3.00",
    "output_usd": "15.00",
    "cache_read_usd": "0.30",
    "cache_write_usd": "3.75",
    "cache_write_1h_usd": "6.00",
    "long_context": {
        "above_input_tokens": 200_000,
        "input_usd": "6.00",
        "output_usd": "22.50",
        "cache_read_usd": "0.60",
        "cache_write_usd": "7.50",
        "cache_write_1h_usd": "12.00",
    },
}


def a_price(**changes: Any) -> Price:
    """A price like Claude Sonnet 4.5's, changed where asked."""
    return Price.model_validate({**SONNET_LIKE, **changes})


def paid(*prices: Price, **changes: Any) -> Card:
    """A paid model with these prices."""
    fields: dict[str, Any] = {
        "id": "paid",
        "provider": "anthropic",
        "api_model": "paid-1",
        "name": "Paid",
        "tasks": ("generate",),
        "tier": "premium",
        "billing": "tokens",
        "prices": prices,
    }
    return Card.model_validate({**fields, **changes})


def local(**changes: Any) -> Card:
    """A model of our own workers."""
    fields: dict[str, Any] = {
        "id": "local",
        "provider": "huggingface",
        "name": "Local",
        "tasks": ("generate",),
        "tier": "local",
        "queue": "llm",
        "billing": "none",
        "hub_id": "someone/local",
    }
    return Card.model_validate({**fields, **changes})
