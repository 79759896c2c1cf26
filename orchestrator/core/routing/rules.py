"""Rules of the operator for some callers: who they are for, and what they change of a request. They choose no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.core.types import Request, Strategy
from registry.schema import Tier


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """The first rule that fits a request changes it. Patterns are shell-like (`team-*`); a rule without patterns of a
    kind does not ask about it. Limits only get stricter: the higher quality, the lower cost, the tiers of both.
    """

    name: str
    users: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    task_classes: tuple[str, ...] = ()
    strategy: Strategy | None = None
    tiers: tuple[Tier, ...] = ()
    min_quality: float | None = None
    max_cost_nanousd: int | None = None
    model: str | None = None

    def fits(self, request: Request) -> bool:
        return (
            _any(self.users, (request.user,))
            and _any(self.tenants, (request.caller.tenant,))
            and _any(self.tags, request.tags)
            and _any(self.task_classes, (request.task_class,))
        )

    def as_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Rule:
        """Raises TypeError for an unknown field, ValueError for an unknown strategy or tier."""
        known: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in data.items()}
        if known.get("strategy"):
            known["strategy"] = Strategy(known["strategy"])
        known["tiers"] = tuple(Tier(tier) for tier in known.get("tiers", ()))
        return Rule(**known)


def applied(request: Request, rules: Iterable[Rule]) -> Request:
    """The request under the first rule that fits it, which it then names; as it is where none does."""
    for rule in rules:
        if rule.fits(request):
            return _under(request, rule)
    return request


def _under(request: Request, rule: Rule) -> Request:
    limits = request.constraints
    tiers = frozenset(rule.tiers) or limits.tiers
    both = tiers & limits.tiers if tiers and limits.tiers else tiers
    stricter = replace(
        limits,
        min_quality=max((q for q in (limits.min_quality, rule.min_quality) if q is not None), default=None),
        max_cost_nanousd=min(
            (c for c in (limits.max_cost_nanousd, rule.max_cost_nanousd) if c is not None), default=None
        ),
        tiers=both,
    )
    return replace(
        request,
        constraints=stricter,
        strategy=rule.strategy or request.strategy,
        model=request.model or rule.model,
        rule=rule.name,
    )


def _any(patterns: tuple[str, ...], values: Iterable[str | None]) -> bool:
    told = [value for value in values if value is not None]
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns for value in told)
