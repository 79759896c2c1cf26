"""What the demo found, row by row and in sum: costs in nano-dollars, grades as they were recorded. Shows nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.cli.demo_contract import Promised
from orchestrator.cli.demo_prompts import Prompt, Recorded
from pennyroute import Answer
from registry.pricing import cost_nanousd
from registry.schema import Card, Tier, Usage

_LOCAL = (Tier.BUILTIN, Tier.LOCAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One answered prompt. `recorded` is the recording that was replayed, None for a synthetic answer."""

    prompt: Prompt
    answer: Answer
    recorded: Recorded | None
    premium_nanousd: int | None
    """The same prompt at the premium card's price with the recorded token counts; None: nothing was recorded."""

    @property
    def source(self) -> str:
        if self.recorded is None:
            return "synthetic"
        return f"{self.recorded.model}, {self.recorded.kind.removeprefix('recorded ')}"

    @property
    def correct(self) -> bool | None:
        return self.recorded.correct if self.recorded else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The prompts, asked once each in one way."""

    name: str
    rows: Sequence[Row]

    @property
    def under_contract(self) -> Sequence[Row]:
        """Those whose class has a contract that was kept."""
        return [row for row in self.rows if (row.answer.why.get("contract") or {}).get("kept")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Costs and grades compare on the `compared` rows alone: those with a recording for both ways."""

    prompts: int
    local: int
    total_nanousd: int
    compared: int
    routed_nanousd: int
    premium_nanousd: int
    routed_correct: int
    premium_correct: int

    @property
    def saving(self) -> float:
        """Share in [0, 1] of the premium cost; 0 where nothing was compared."""
        return 1 - self.routed_nanousd / self.premium_nanousd if self.premium_nanousd else 0.0


def plain(runs: Sequence[Run], promised: Promised) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "replay": True,
        "contracts": [contract.as_dict() for contract in promised.contracts],
        "labels": promised.labels,
        "runs": [_plain_run(run) for run in runs],
    }


def _plain_run(run: Run) -> dict[str, Any]:
    summary = sum_up(run.rows)
    told = {name: getattr(summary, name) for name in type(summary).__dataclass_fields__}
    return {
        "name": run.name,
        "summary": {**told, "saving": round(summary.saving, 4)},
        "rows": [
            {
                "prompt": row.prompt.text,
                "origin": row.prompt.origin,
                "complexity": row.answer.why["complexity"],
                "reason": row.answer.why["reason"],
                "contract": row.answer.why.get("contract"),
                "model": row.answer.model,
                "tier": row.answer.tier,
                "cost_nanousd": row.answer.cost_nanousd,
                "answer": row.source,
                "correct": row.correct,
            }
            for row in run.rows
        ],
    }


def row_of(prompt: Prompt, answer: Answer, premium: Card, at: datetime) -> Row:
    tier = Tier.LOCAL if answer.tier in _LOCAL else Tier(answer.tier)
    reference = prompt.answers.get(Tier.PREMIUM)
    premium_nanousd = None
    if reference is not None and prompt.input_tokens is not None:
        usage = Usage(input_tokens=prompt.input_tokens, output_tokens=reference.output_tokens)
        premium_nanousd = cost_nanousd(premium, usage, at)
    return Row(prompt=prompt, answer=answer, recorded=prompt.answers.get(tier), premium_nanousd=premium_nanousd)


def sum_up(rows: Sequence[Row]) -> Summary:
    compared = [row for row in rows if row.recorded and row.premium_nanousd is not None]
    return Summary(
        prompts=len(rows),
        local=sum(row.answer.tier in _LOCAL for row in rows),
        total_nanousd=sum(row.answer.cost_nanousd for row in rows),
        compared=len(compared),
        routed_nanousd=sum(row.answer.cost_nanousd for row in compared),
        premium_nanousd=sum(row.premium_nanousd or 0 for row in compared),
        routed_correct=sum(bool(row.correct) for row in compared),
        premium_correct=sum(row.prompt.answers[Tier.PREMIUM].correct for row in compared),
    )
