"""The demo's prompts and recorded answers, and the replay file made of them; sends nothing, routes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from registry.load import Registry
from registry.schema import Billing, Task, Tier

OPEN_SERVER = "replay-local"
OPEN_MODEL = "recorded-small"
# Written here, not recorded: they show the other classes of a request, and are not graded.
_EVERYDAY = (
    "Hi!",
    "Summarize this text: A penny saved is a penny earned, people say, and then they spend two to save one.",
    "Write a short poem about a lighthouse keeper who collects metaphors.",
    "Write the press release for our product launch, in our brand voice, for customers and investors.",
    "Create a FastAPI server with an endpoint that stores orders in Postgres, with unit tests.",
    "Compare REST and GraphQL step by step and analyze the trade-offs for a mobile app.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What another model once answered: `kind` says how much of it was kept, `correct` how it was graded."""

    model: str
    kind: str
    text: str
    output_tokens: int
    correct: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt; `answers` by tier name (local, mid, premium), empty for one of our own."""

    text: str
    origin: str
    input_tokens: int | None
    answers: Mapping[str, Recorded]

    @property
    def graded_for_every_tier(self) -> bool:
        return {Tier.LOCAL, Tier.MID, Tier.PREMIUM} <= self.answers.keys()


def read_prompts() -> tuple[Prompt, ...]:
    """The recorded ones and our own, mixed so that every class shows early."""
    recorded = [_prompt(line) for line in _data().splitlines() if line.strip()]
    step = max(1, len(recorded) // len(_EVERYDAY))
    for number, text in enumerate(_EVERYDAY):
        own = Prompt(text=text, origin="written for this demo", input_tokens=None, answers={})
        recorded.insert(number * (step + 1), own)
    return tuple(recorded)


def write_replay(file: Path, prompts: tuple[Prompt, ...], registry: Registry) -> None:
    """The wire server's replay file: each tier's recorded answer under every model of that tier."""
    models = [
        (str(card.tier), card.api_model) for card in registry.for_task(Task.GENERATE) if card.billing is Billing.TOKENS
    ]
    lines = [line for prompt in prompts for line in _records(prompt, [(str(Tier.LOCAL), OPEN_MODEL), *models])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _records(prompt: Prompt, models: list[tuple[str, str | None]]) -> Iterator[Mapping[str, object]]:
    for tier, model in models:
        if tier in prompt.answers:
            said = prompt.answers[tier]
            usage = {"input_tokens": prompt.input_tokens, "output_tokens": said.output_tokens}
            yield {"prompt": prompt.text, "model": model, "text": said.text, **usage}


def _prompt(line: str) -> Prompt:
    told = json.loads(line)
    return Prompt(
        text=told["prompt"],
        origin=told["origin"],
        input_tokens=told["input_tokens"],
        answers={tier: Recorded(**answer) for tier, answer in told["answers"].items()},
    )


def _data() -> str:
    return resources.files("orchestrator.adapters.wire").joinpath("replay", "prompts.jsonl").read_text("utf-8")
