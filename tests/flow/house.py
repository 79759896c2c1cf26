"""A house of memory twins: every door is real code, and each provider answers by a script."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from orchestrator.adapters.artefacts import shipped_judge
from orchestrator.adapters.memory import (
    MemoryBlobs,
    MemoryClock,
    MemoryEmbeddings,
    MemoryFleet,
    MemoryHealth,
    MemoryInferences,
    MemoryKeys,
    MemoryLedger,
    MemoryOverrides,
    MemoryPolicies,
    MemoryProvider,
    Scripted,
)
from orchestrator.adapters.memory_learning import MemoryConversations, MemoryLabels, MemoryNeighbours
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Call, FinishReason, Reply
from orchestrator.ports import Deps, Limits
from registry.load import Registry, load
from registry.schema import Usage
from tests.samples import USD

LOCAL, MID, PREMIUM, CREATIVE = "llama-3.2-1b-instruct", "deepseek-chat", "claude-sonnet", "gpt-4o"
UP = frozenset({LOCAL, MID, PREMIUM, CREATIVE, "claude-opus-5-5", "minilm-l6-builtin", "vader", "toxicity-wordlist"})
GOOD = "Four, because two and two make four."
BAD = "I'm sorry, but I can't help with that."

Script = Callable[[Call], Scripted | Awaitable[Scripted]]


@cache
def registry() -> Registry:
    return load()


def reply(text: str = GOOD, *, tokens_in: int = 10, tokens_out: int = 20, **changes: Any) -> Reply:
    return Reply(usage=Usage(input_tokens=tokens_in, output_tokens=tokens_out), text=text, **changes)


def cut_short(text: str = GOOD) -> Reply:
    return reply(text, finish_reason=FinishReason.LENGTH)


def vectors(call: Call) -> Reply:
    """One 384-dimensional vector a text: the count of each letter, so that like texts lie near each other."""
    data = [[float(text.lower().count(chr(97 + n % 26)) + 0.01) for n in range(384)] for text in call.texts]
    return Reply(usage=Usage(input_tokens=len(call.texts)), data=data)


def always(*answers: Scripted) -> Script:
    """The answers in turn, the last one for ever."""
    waiting = list(answers)
    return lambda call: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@dataclass
class House:
    """The doors and what stands behind them, for a test to look at."""

    deps: Deps
    clock: MemoryClock
    ledger: MemoryLedger
    fleet: MemoryFleet
    providers: Mapping[str, MemoryProvider]
    overrides: MemoryOverrides
    limits: dict[str, Any] = field(default_factory=dict)

    def called(self) -> list[str]:
        """Model ids of every call that reached a provider, per provider in order."""
        return [call.model_id for provider in self.providers.values() for call in provider.calls]

    def rows(self) -> list[Mapping[str, Any]]:
        return sorted(self.ledger.rows.values(), key=lambda row: str(row["id"]))

    async def money(self) -> tuple[int, int]:
        """Spent and reserved nano-dollars of the global budget."""
        budget = (await self.ledger.budgets())[0]
        return budget.spent_nanousd, budget.reserved_nanousd


def build(
    *,
    local: Script | Scripted | None = None,
    mid: Script | Scripted | None = None,
    premium: Script | Scripted | None = None,
    creative: Script | Scripted | None = None,
    builtin: Script | Scripted | None = vectors,
    up: frozenset[str] = UP,
    budget_nanousd: int = 200 * USD,
    policy: RoutingPolicy | None = None,
    **limits: Any,
) -> House:
    """What is not scripted answers GOOD; what is not `up` cannot be called."""
    clock, ledger, overrides = MemoryClock(), MemoryLedger({"global": budget_nanousd}), MemoryOverrides()
    down = {model: f"{model} is away; fetch it" for model in registry().cards if model not in up}
    fleet = MemoryFleet(registry(), down)
    scripts = {"huggingface": local, "deepseek": mid, "anthropic": premium, "openai": creative, "builtin": builtin}
    providers = {name: MemoryProvider(_script(script)) for name, script in scripts.items()}
    chosen = dict(limits)
    deps = Deps(
        clock=clock,
        fleet=fleet,
        providers=providers,
        ledger=ledger,
        inferences=MemoryInferences(ledger),
        embeddings=MemoryEmbeddings(),
        keys=MemoryKeys(),
        policies=MemoryPolicies(policy),
        labels=MemoryLabels(),
        neighbours=MemoryNeighbours(),
        conversations=MemoryConversations(),
        overrides=overrides,
        blobs=MemoryBlobs(),
        health=MemoryHealth(),
        judge=shipped_judge(),
        live_limits=lambda: Limits(**chosen),
    )
    return House(deps, clock, ledger, fleet, providers, overrides, chosen)


def _script(script: Script | Scripted | None) -> Script:
    if script is None:
        return always(reply())
    return script if callable(script) else always(script)
