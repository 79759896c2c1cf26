"""A modality whose one model talks as its prompt says; run for real, in a worker process of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.schema import Billing, Card, Task, Tier
from workers.modality import Batch, Machine, Result, WorkerError

TALKER = Card(
    id="talker",
    provider="builtin",
    name="Talks as its prompt says",
    tasks=(Task.GENERATE,),
    tier=Tier.BUILTIN,
    queue="llm",
    billing=Billing.NONE,
    context_tokens=8192,
    max_output_tokens=4096,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """What to do: `pieces` words, `pause_s` before each; die by kill -9 or hang before word `at`."""

    pieces: int = 3
    pause_s: float = 0.0
    die_at: int | None = None
    hang_at: int | None = None
    silent: bool = False
    answer: str | None = None

    def prompt(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__})


@dataclass
class Voice:
    """Where it writes down what it did: one line per item begun or ended."""

    diary: Path

    def note(self, line: str) -> None:
        with self.diary.open("a") as file:
            file.write(line + "\n")


def load(card: Card, machine: Machine) -> Voice:
    machine.models_dir.mkdir(parents=True, exist_ok=True)
    return Voice(machine.models_dir / "diary")


def infer(loaded: Voice, batch: Batch) -> Sequence[Result | WorkerError]:
    scripts = [Script(**json.loads(item.turns[-1].content)) for item in batch.items]
    loaded.note(f"batch of {len(scripts)}")
    said: list[list[str]] = [[] for _ in scripts]
    for turn in range(max(script.pieces for script in scripts)):
        batch.check_time()
        for number, script in enumerate(scripts):
            if turn < script.pieces and not batch.stopped(number):
                said[number].append(_word(script, turn))
                if not script.silent:
                    batch.say(number, said[number][-1])
    for number, words in enumerate(said):
        loaded.note(f"item {number}: {len(words)} words")
    return [_told(script, words) for script, words in zip(scripts, said, strict=True)]


def _word(script: Script, turn: int) -> str:
    time.sleep(script.pause_s)
    if turn == script.die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    if turn == script.hang_at:
        time.sleep(600)
    return f"word{turn} "


def _told(script: Script, words: list[str]) -> dict[str, Any]:
    text = script.answer if script.answer is not None else "".join(words)
    return {"text": text, "finish_reason": "stop", "tokens": 7, "output_tokens": len(words)}
