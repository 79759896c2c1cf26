"""Says which card of the registry each recorded model stands for in a replay. Scores and prices nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.recorded import Recorded
from registry.load import Registry, UnknownModel
from registry.schema import Card, Task, Tier

_SHOWN = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Seat:
    """A recorded model and the card it stands for: the card is scored and priced, the record is graded."""

    recorded: str
    card: Card
    mean_quality: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seating:
    """Who plays, the worst answering first; the two ends of the trade-off; and how the seats were given, in words."""

    seats: tuple[Seat, ...]
    weak: int
    strong: int
    how: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(seat.recorded for seat in self.seats)


def means(rows: Iterable[Recorded]) -> Mapping[str, float]:
    """Mean quality of each recorded model over the rows that have it, the worst first."""
    total: dict[str, tuple[float, int]] = {}
    for row in rows:
        for name, outcome in row.outcomes.items():
            quality, count = total.get(name, (0.0, 0))
            total[name] = quality + outcome.quality, count + 1
    found = {name: quality / count for name, (quality, count) in total.items()}
    return dict(sorted(found.items(), key=lambda item: (item[1], item[0])))


def seating(
    recorded: Mapping[str, float],
    registry: Registry,
    *,
    told: Mapping[str, str] | None = None,
    weak: str | None = None,
    strong: str | None = None,
) -> Seating:
    """`recorded` is what `means` found; `told` maps recorded names to cards, by the caller. Where nothing is told,
    names that are all cards are themselves; else the worst takes local, the best premium, the middle one mid.

    Raises InvalidInput.
    """
    for name in (*(told or {}), weak, strong):
        if name is not None and name not in recorded:
            raise InvalidInput(f"no row holds an answer of {name!r}; the rows hold {_shown(recorded)}.", field="map")
    if weak is not None and weak == strong:
        raise InvalidInput(f"weak and strong are both {weak!r}; name two models.", field="weak")
    chosen, how = _chosen(recorded, registry, dict(told or {}), weak, strong)
    seats = tuple(_seat(name, card, recorded[name], registry) for name, card in chosen.items())
    seats = tuple(sorted(seats, key=lambda seat: (seat.mean_quality, seat.recorded)))
    cards = [seat.card.id for seat in seats]
    if len(set(cards)) < len(cards):
        raise InvalidInput(f"two recorded models stand for one card ({', '.join(cards)}); map each to its own.")
    if len(seats) < 2:
        raise InvalidInput(f"one model leaves nothing to choose; the rows hold {_shown(recorded)}.", field="map")
    names = [seat.recorded for seat in seats]
    return Seating(
        seats=seats,
        weak=names.index(weak) if weak in names else 0,
        strong=names.index(strong) if strong in names else len(names) - 1,
        how=how,
    )


def complete(rows: Iterable[Recorded], names: Sequence[str]) -> list[Recorded]:
    """The rows on which every one of these was asked: the others cannot say what a choice would have cost."""
    return [row for row in rows if all(name in row.outcomes for name in names)]


def _chosen(
    recorded: Mapping[str, float], registry: Registry, told: dict[str, str], weak: str | None, strong: str | None
) -> tuple[dict[str, str], str]:
    if told:
        missing = [name for name in (weak, strong) if name is not None and name not in told]
        if missing:
            raise InvalidInput(f"{missing[0]!r} has no card; add --map {missing[0]}=CARD.", field="map")
        return told, "as --map says"
    if weak is None and strong is None and all(_is_card(name, registry) for name in recorded):
        return {name: name for name in recorded}, "each under its own card"
    names = list(recorded)
    low = weak or next((name for name in names if name != strong), names[0])
    high = strong or next((name for name in reversed(names) if name != low), names[-1])
    between = [name for name in names if recorded[low] < recorded[name] < recorded[high]]
    chosen = {low: _local(registry).id}
    if between:
        chosen[between[len(between) // 2]] = registry.for_role("mid").id
    chosen[high] = registry.for_role("premium").id
    return chosen, "by mean quality: the lowest stands for local, the highest for premium, the middle one for mid"


def _is_card(name: str, registry: Registry) -> bool:
    card = registry.cards.get(registry.by_alias.get(name, name))
    return card is not None and Task.GENERATE in card.tasks


def _local(registry: Registry) -> Card:
    """The local card a ladder's word `local` leads to first."""
    found = [card for card in registry.for_task(Task.GENERATE) if card.tier is Tier.LOCAL]
    if not found:
        raise InvalidInput("the registry has no local model that generates; say which cards to use with --map.")
    return min(found, key=lambda card: (not card.roles, card.id))


def _seat(name: str, card_id: str, mean: float, registry: Registry) -> Seat:
    try:
        card = registry.get(card_id)
    except UnknownModel as error:
        raise InvalidInput(f"{name!r} cannot stand for {card_id!r}: {error}", field="map") from error
    if Task.GENERATE not in card.tasks:
        raise InvalidInput(f"{card.id!r} does not generate text, so {name!r} cannot stand for it.", field="map")
    return Seat(recorded=name, card=card, mean_quality=mean)


def _shown(recorded: Mapping[str, float]) -> str:
    names = list(recorded)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "no model") + more
