"""Ground floor: which models exist, what they cost, where their weights are; it imports no other room."""

from __future__ import annotations

from registry.load import BadCard, Registry, UnknownModel, load, open_server_card
from registry.pricing import UnpricedModel, cost_nanousd, price_at, upper_bound_nanousd
from registry.schema import Billing, Capability, Card, Price, Task, Tier, Usage, Variant

__all__ = [
    "BadCard",
    "Billing",
    "Capability",
    "Card",
    "Price",
    "Registry",
    "Task",
    "Tier",
    "UnknownModel",
    "UnpricedModel",
    "Usage",
    "Variant",
    "cost_nanousd",
    "load",
    "open_server_card",
    "price_at",
    "upper_bound_nanousd",
]
