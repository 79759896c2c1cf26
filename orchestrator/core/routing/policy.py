"""The routing policy: a versioned, immutable rule as data. It predicts nothing and chooses nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.contract.certificate import Contract
from orchestrator.core.errors import ConfigError
from orchestrator.core.routing.rules import Rule
from orchestrator.core.types import Complexity
from registry.load import Registry
from registry.schema import Card, Task, Tier

_DERIVED = frozenset({"name", "version", "entries", "kept"})

_DEFAULT_LADDERS: Mapping[str, tuple[str, ...]] = {
    Complexity.SIMPLE: ("local", "mid", "premium"),
    Complexity.MEDIUM: ("mid", "premium"),
    Complexity.HIGH: ("premium", "creative", "mid"),
    Complexity.CREATIVE: ("creative", "premium"),
    Complexity.PREMIUM_BRAND: ("premium", "creative"),
    "tools": ("premium", "creative"),
}
# The harder and the more public the work, the nearer to the best its answer is to be.
_DEFAULT_SLACK: Mapping[str, float] = {
    Complexity.SIMPLE: 0.2,
    Complexity.MEDIUM: 0.2,
    Complexity.HIGH: 0.1,
    Complexity.CREATIVE: 0.1,
    Complexity.PREMIUM_BRAND: 0.05,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingPolicy:
    """What turns scores and limits into a plan. A ladder lists what a class may use, in order of preference: an entry
    is a role, a tier or a model id; a word that is both a role and a tier means the card that holds the role.

    Stated priors, until labels replace them: `tier_strength`, the share of adequate answers of a tier to average
    queries, used where a card states none; `slack`, by how much (as a share) a plan's predicted quality may lie under
    the best plan's where neither the request nor a contract says. Measured (`quality.json`): `accept_right` and
    `accept_wrong`, how often an adequate and an inadequate answer of the cheaper model is accepted.
    """

    ladders: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(_DEFAULT_LADDERS))
    tier_strength: Mapping[str, float] = field(
        default_factory=lambda: {Tier.BUILTIN: 0.2, Tier.LOCAL: 0.45, Tier.MID: 0.7, Tier.PREMIUM: 0.9}
    )
    task_order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    slack: Mapping[str, float] = field(default_factory=lambda: dict(_DEFAULT_SLACK))
    medium_at: float = 0.25
    high_at: float = 0.5
    creative_at: float = 0.5
    brand_at: float = 0.5
    accept_at: float = 0.5
    accept_right: float = 0.79
    accept_wrong: float = 0.55
    agree_rates: tuple[float, float] = (0.78, 0.25)
    """The same two for an answer that a second cheap model was asked for and agrees with."""
    max_rungs: int = 3
    trust: float = 0.3
    """Weight of the artefact's reading on texts of a kind it was not trained on. Measured: 0.27 [0.16, 0.53] on sets
    left out of its training (scripts/benches/ROUTING.md)."""
    scorer: str | None = None
    """Version of the artefact that reads texts; None is the shipped one."""
    abilities: Mapping[str, float] = field(default_factory=dict)
    """Model id → log-odds of an adequate answer to an average query, learned from labels."""
    topics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Task class → the same for its requests alone: a prior of its topic, learned from its labels."""
    contracts: tuple[Contract, ...] = ()
    rules: tuple[Rule, ...] = ()
    switch_factor: float = 3.0
    switch_least_nanousd: int = 1_000_000
    """A conversation moves to a cheaper model only if staying costs more than this many times as much and this much
    on top."""
    name: str = "default"
    version: str = field(init=False)
    """Twelve hex digits of the content's SHA-256: same rule, same version."""
    entries: frozenset[str] = field(init=False)
    """Every ladder entry."""
    kept: dict[str, tuple[Card, ...]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        object.__setattr__(self, "version", hashlib.sha256(text.encode()).hexdigest()[:12])
        object.__setattr__(self, "entries", frozenset(entry for ladder in self.ladders.values() for entry in ladder))

    def reachable(self, registry: Registry) -> tuple[Card, ...]:
        """The generate cards some ladder or contract leads to; the others answer only when a request names them.
        Asked on every request and the same for a registry, so the last answer is kept."""
        kept = self.kept.get(registry.version)
        if kept is None:
            self.kept.clear()
            kept = tuple(card for card in registry.for_task(Task.GENERATE) if self._reaches(card, registry))
            self.kept[registry.version] = kept
        return kept

    def contracts_of(self, task_class: str) -> tuple[Contract, ...]:
        """The contracts of a task class, in the order they stand: the cheapest weak model first."""
        return tuple(contract for contract in self.contracts if contract.task_class == task_class)

    def _reaches(self, card: Card, registry: Registry) -> bool:
        if not self.entries.isdisjoint(card.roles) or card.id in self.entries:
            return True
        if any(card.id in (contract.weak, contract.reference) for contract in self.contracts):
            return True
        return card.tier in self.entries and card.tier not in registry.by_role

    def as_dict(self) -> dict[str, Any]:
        """The rule as JSON values: what a row of `routing_policies` holds."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _DERIVED}
        plain["ladders"] = {str(k): list(v) for k, v in self.ladders.items()}
        plain["task_order"] = {str(k): list(v) for k, v in self.task_order.items()}
        for name in ("tier_strength", "slack", "abilities"):
            plain[name] = {str(k): v for k, v in plain[name].items()}
        plain["topics"] = {str(k): dict(v) for k, v in self.topics.items()}
        if not self.topics:
            del plain["topics"]  # so that a policy without any keeps the version it had before there were any
        plain["agree_rates"] = list(self.agree_rates)
        plain["contracts"] = [contract.as_dict() for contract in self.contracts]
        plain["rules"] = [rule.as_dict() for rule in self.rules]
        return plain

    @staticmethod
    def from_dict(data: Mapping[str, Any], name: str = "default") -> RoutingPolicy:
        """The policy of a row; a ladder or tier it leaves out is the default's. Raises ConfigError."""
        unknown = sorted(data.keys() - (RoutingPolicy.__dataclass_fields__.keys() - _DERIVED))
        if unknown:
            raise ConfigError(f"routing policy {name!r} has unknown fields: {', '.join(unknown)}. Correct its row.")
        known, default = dict(data), RoutingPolicy()
        try:
            for key in ("ladders", "task_order"):
                told = {k: tuple(v) for k, v in known.get(key, {}).items()}
                known[key] = {**getattr(default, key), **told}
            for key in ("tier_strength", "slack"):
                known[key] = {**getattr(default, key), **known.get(key, {})}
            if "agree_rates" in known:
                known["agree_rates"] = tuple(known["agree_rates"])
            known["contracts"] = tuple(Contract.from_dict(row) for row in known.get("contracts", ()))
            known["rules"] = tuple(Rule.from_dict(row) for row in known.get("rules", ()))
            return RoutingPolicy(**known, name=name)
        except (TypeError, AttributeError, ValueError, KeyError) as error:
            raise ConfigError(f"routing policy {name!r} cannot be read: {error}. Correct its row.") from error
