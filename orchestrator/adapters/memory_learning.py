"""Twins in memory of the doors that learn: labels, neighbours, conversations and how fast models have been."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orchestrator.core.eprocess import Watch
from orchestrator.core.types import Neighbour
from orchestrator.ports import Label

_WORD = re.compile(r"\w+")


class MemoryLabels:
    def __init__(self) -> None:
        self.kept: list[Label] = []
        self.watches: dict[str, Watch] = {}

    async def add(self, label: Label) -> bool:
        if any(each.id == label.id for each in self.kept):
            return False
        self.kept.append(label)
        return True

    async def of_class(self, tenant: str | None, task_class: str) -> Sequence[Label]:
        return [each for each in self.kept if each.task_class == task_class and tenant in (None, each.tenant)]

    async def watch(self, contract_version: str, observe: Callable[[Watch | None], Watch]) -> Watch:
        after = observe(self.watches.get(contract_version))
        self.watches[contract_version] = after
        return after


class MemoryNeighbours:
    """Likeness by shared words: enough to be near, no model needed."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, frozenset[str], Label]] = []
        self.asked = 0

    async def like(self, tenant: str, text: str, limit: int) -> Sequence[Neighbour]:
        self.asked += 1
        words = _words(text)
        found = [
            Neighbour(similarity=len(words & other) / max(1, len(words | other)), outcomes=label.outcomes)
            for owner, other, label in self.kept
            if owner == tenant
        ]
        return sorted(found, key=lambda each: -each.similarity)[:limit]

    async def learn(self, tenant: str, label: Label) -> None:
        if label.text:
            self.kept.append((tenant, _words(label.text), label))


class MemoryConversations:
    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    async def last(self, key: str) -> str | None:
        return self.models.get(key)

    async def remember(self, key: str, model_id: str) -> None:
        self.models[key] = model_id


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
