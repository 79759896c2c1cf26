"""Which cards the entries of a ladder mean, and who comes first where an entry means several. It predicts nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestrator.core.types import Score
from registry.load import Registry
from registry.schema import Card, Tier


def by_entries(
    entries: Iterable[str], ready: Sequence[Card], scores: Mapping[str, Score], registry: Registry
) -> list[Card]:
    """For each entry (role, tier or id) its best ready card not yet taken."""
    ordered: dict[str, Card] = {}
    for entry in entries:
        matching = [card for card in ready if _matches(card, entry, registry) and card.id not in ordered]
        if matching:
            best = min(matching, key=lambda card: preference(card, scores))
            ordered[best.id] = best
    return list(ordered.values())


def _matches(card: Card, entry: str, registry: Registry) -> bool:
    if entry in registry.by_role:
        return entry in card.roles
    return entry in (card.tier, card.id)


def preference(card: Card, scores: Mapping[str, Score]) -> tuple[bool, float, int, str]:
    """Within a tier: a card with a role first, then the better, the cheaper, the name."""
    score = scores.get(card.id)
    return not card.roles, -score.p_adequate if score else 0.0, score.cost_nanousd if score else 0, card.id


def by_tier(ready: Iterable[Card]) -> Iterable[Card]:
    """Downloaded local models before built-in ones, then paid ones from mid upwards; core cards first."""
    order = {Tier.LOCAL: 0, Tier.BUILTIN: 1, Tier.MID: 2, Tier.PREMIUM: 3}
    return sorted(ready, key=lambda card: (order[card.tier], not card.core, card.id))
