"""Twins in memory of the doors that learn: labels, neighbours, conversations and how fast models have been."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.core.contract.watch import Watch
from orchestrator.core.types import Neighbour
from orchestrator.ports import Label

_NOW = datetime.max.replace(tzinfo=UTC)  # what has no moment came last
_WORD = re.compile(r"\w+")


class MemoryLabels:
    def __init__(self) -> None:
        self.kept: list[Label] = []
        self.watches: dict[str, Watch] = {}
        self.watched_requests: set[tuple[str, UUID | None]] = set()

    async def add(self, label: Label) -> bool:
        if any(each.id == label.id for each in self.kept):
            return False
        self.kept.append(label)
        return True

    async def of_class(self, tenant: str | None, task_class: str) -> Sequence[Label]:
        found = [each for each in self.kept if each.task_class == task_class and tenant in (None, each.tenant)]
        return sorted(found, key=lambda each: (each.created_at or _NOW, each.id))

    async def with_text(self, limit: int) -> Sequence[Label]:
        told = [each for each in self.kept if each.text is not None]
        return sorted(told, key=lambda each: (each.created_at or _NOW, each.id))[-limit:]

    async def watch(
        self, contract_version: str, observe: Callable[[Watch | None], Watch], once: UUID | None = None
    ) -> Watch:
        before = self.watches.get(contract_version)
        if before is not None and (contract_version, once) in self.watched_requests:
            return before
        if once is not None:
            self.watched_requests.add((contract_version, once))
        self.watches[contract_version] = observe(before)
        return self.watches[contract_version]

    async def watched(self, contract_version: str) -> Watch | None:
        return self.watches.get(contract_version)


class MemoryNeighbours:
    """Likeness by shared words: enough to be near, no model needed."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Mapping[str, float]] = {}
        self.asked = 0

    async def like(self, tenant: str, text: str, limit: int) -> Sequence[Neighbour]:
        self.asked += 1
        words = _words(text)
        found = [
            Neighbour(similarity=_likeness(words, _words(other)), outcomes=outcomes)
            for (owner, other), outcomes in self.kept.items()
            if owner == tenant
        ]
        return sorted(found, key=lambda each: -each.similarity)[:limit]

    async def learn(self, tenant: str, label: Label) -> None:
        if label.text:
            known = self.kept.get((tenant, label.text), {})
            self.kept[tenant, label.text] = {**known, **label.outcomes}


class MemoryConversations:
    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    async def last(self, key: str) -> str | None:
        return self.models.get(key)

    async def remember(self, key: str, model_id: str) -> None:
        self.models[key] = model_id


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
