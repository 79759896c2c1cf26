"""Whether answers held to a JSON schema always fit it: random schemas, random weights, both engines.

Draws schemas (depth 3 and more, bounds, enums, $ref, unicode), lets tiny models with random weights answer each at
temperature 1.0 to 1.2, and checks every answer with jsonschema. An answer that was cut for length is a failure.
Run it with `scripts/bench structured`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.data.schemas.random_schemas import schemas
from tests.workers.constrained import Write, at_random, fault, llama_cpp, transformers_model
from workers.constrain import Constraint, compile_schema
from workers.modality import WorkerError

MOST_REFUSED = 0.05
MAX_TOKENS = 1024
VOCABULARY = 128_000


@dataclass(kw_only=True)
class Tally:
    """What became of the schemas, in one engine."""

    engine: str
    fitting: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


def compiled(drawn: list[Mapping[str, Any]]) -> tuple[list[Constraint], Counter[str], list[float]]:
    """The constraints of those that can be followed, why the others are refused, milliseconds per schema."""
    found, refused, took_ms = [], Counter[str](), []
    for schema in drawn:
        began = time.perf_counter()
        try:
            found.append(compile_schema(schema, MAX_TOKENS))
        except WorkerError as error:
            refused[reason(error.message)] += 1
        took_ms.append((time.perf_counter() - began) * 1000)
    return found, refused, took_ms


def reason(message: str) -> str:
    """What kind of refusal it was: the keyword, or that nothing fits."""
    if " uses " in message:
        return message.partition(" uses ")[2].partition(",")[0].partition(" '")[0]
    return message.partition("(")[0].strip()


def judged(engine: str, write: Write, constraints: list[Constraint]) -> Tally:
    """Every constraint answered once and checked by jsonschema alone."""
    tally = Tally(engine=engine)
    for number, constraint in enumerate(constraints):
        began = time.perf_counter()
        text, finish, tokens = write(constraint, number, (1.0, 1.1, 1.2)[number % 3])
        tally.seconds += time.perf_counter() - began
        tally.tokens += tokens
        told = fault(constraint, text, finish, tokens)
        tally.fitting += told is None
        if told:
            tally.failed.append({"why": told, "schema": constraint.schema, "text": text[:400]})
    return tally


def mask_ms(constraints: list[Constraint]) -> dict[str, float]:
    """Milliseconds a token that the mask takes in a vocabulary as large as a real one: the first, then the others."""
    tokenizer = large_tokenizer(VOCABULARY)
    first, later, scores = [], [], torch.zeros((1, VOCABULARY))
    for number, constraint in enumerate(constraints):
        torch.manual_seed(number)
        mask, row = constraint.processor(tokenizer), torch.zeros((1, 1), dtype=torch.long)
        for step in range(60):
            began = time.perf_counter()
            allowed = mask(row, scores)
            (later if step else first).append((time.perf_counter() - began) * 1000)
            token = torch.multinomial(torch.softmax(allowed, dim=1), 1)
            if int(token) == tokenizer.eos_token_id:
                break
            row = torch.cat([row, token], dim=1)
    return {
        "first": statistics.mean(first),
        "later": statistics.mean(later),
        "later_p99": sorted(later)[-len(later) // 100],
    }


def large_tokenizer(size: int) -> Any:
    """A byte-level tokenizer of `size` tokens: every byte, and words of random letters."""
    draw = Random(1)  # noqa: S311 - repeatable, not secret
    words = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    while len(words) < size - 1:
        start = draw.choice(("", "Ġ", "Ġ", '"', "Ċ"))
        words[start + "".join(draw.choices("etaoinshrdlcumwfgypbvk0123456789,.", k=draw.randint(2, 9)))] = None
    vocabulary = {word: number for number, word in enumerate((*words, "</s>"))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")  # noqa: S106 - a token


def measured(count: int, fewer: int, seed: int) -> dict[str, Any]:
    """Everything of one run, as an object."""
    constraints, refused, took_ms = compiled(schemas(count, seed))
    tallies = [judged("random bytes", at_random, constraints)]
    with tempfile.TemporaryDirectory() as name:
        engines = (
            ("llama.cpp", llama_cpp, (), constraints),
            ("transformers, byte tokens", transformers_model, ("llama-3.2-1b-instruct",), constraints[:fewer]),
            ("transformers, word pieces", transformers_model, ("tinyllama-1.1b-chat",), constraints[:fewer]),
        )
        for number, (engine, opened, card, several) in enumerate(engines):
            folder = Path(name, str(number))
            folder.mkdir()
            with opened(folder, *card) as write:
                tallies.append(judged(engine, write, several))
    share = sum(refused.values()) / count
    goals = [{"name": "refused", "value": share, "goal": f"at most {MOST_REFUSED}", "met": share <= MOST_REFUSED}]
    goals += [
        {"name": f"fits, {each.engine}", "value": each.fitting, "goal": "all", "met": not each.failed}
        for each in tallies
    ]
    return {
        "schemas": count,
        "seed": seed,
        "refused": dict(refused),
        "compile_ms": {"median": statistics.median(took_ms), "most": max(took_ms)},
        "mask_ms": mask_ms(constraints[: fewer // 5]),
        "engines": [vars(each) | {"ms_per_token": 1000 * each.seconds / max(1, each.tokens)} for each in tallies],
        "goals": goals,
    }


def shown(found: Mapping[str, Any]) -> None:
    """The same as a table."""
    table = Table("engine", "schemas", "fit", "tokens", "ms a token", title="Answers held to random schemas")
    for each in found["engines"]:
        total = each["fitting"] + len(each["failed"])
        table.add_row(
            each["engine"], str(total), str(each["fitting"]), str(each["tokens"]), f"{each['ms_per_token']:.2f}"
        )
    console = Console()
    console.print(table)
    compile_ms = found["compile_ms"]
    console.print(f"Of {found['schemas']} schemas refused: {found['refused']}")
    console.print(f"Compiling: median {compile_ms['median']:.1f} ms, most {compile_ms['most']:.0f} ms")
    mask = {name: f"{value:.2f}" for name, value in found["mask_ms"].items()}
    console.print(f"Mask at {VOCABULARY:,} tokens, ms a token: {mask}")
    for each in found["engines"]:
        for failure in each["failed"][:5]:
            console.print(each["engine"], failure["why"], json.dumps(failure["schema"], ensure_ascii=False)[:300])


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench structured", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one object")
    parser.add_argument("--quick", action="store_true", help="60 schemas instead of 1000")
    parser.add_argument("--seed", type=int, default=4, help="another seed draws other schemas")
    asked = parser.parse_args()
    found = measured(60, 60, asked.seed) if asked.quick else measured(1000, 300, asked.seed)
    if asked.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        shown(found)
    return 0 if all(goal["met"] for goal in found["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
