"""What a routing decision costs in the running service, with and without an embedding, and the memory it adds.

Real stack, real questions (those of the demo, each made new by a number before it), one caller at a time; the time is
the service's own (`why.took_ms`): features, reading, scores, plan, and where the choice is close the embedding by the
worker and the search for past prompts. Peers' figures are published ones and say so."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateways import ROOT, Upstream, ask, pennyroute, temporary_folder, upstream
from rich.console import Console
from rich.table import Table

from orchestrator.cli.demo_prompts import read_prompts
from orchestrator.house import House

MOST_PLAIN_MS, MOST_EMBEDDED_MS, MOST_MEMORY_MB = 1.0, 10.0, 200.0
EMBEDDER = (("embeddings", ("embeddings", "rerank")),)
PUBLISHED = "published: vLLM Semantic Router 853 ms, RouteLLM's matrix factorisation 6 ms on an L4"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision as the service told it: milliseconds, and how many past prompts it found."""

    took_ms: float
    past_prompts: int


def decisions(house: House, key: str, asked: Iterator[str], rounds: int) -> list[Decision]:
    """One request after another; each answer is checked to be one."""
    found = []
    for _ in range(rounds):
        body = {"input": next(asked), "options": {"max_tokens": 64}}
        answer = ask(f"{house.address}/route", body, {"authorization": f"Bearer {key}"})
        assert "synthetic answer" in answer["output"], answer
        found.append(Decision(took_ms=answer["why"]["took_ms"], past_prompts=answer["why"]["past_prompts"]))
    return found


def questions() -> Iterator[str]:
    """Real questions, and none twice: a number stands before each, so that nothing is known already."""
    texts, number = [prompt.text for prompt in read_prompts()], 0
    while True:
        number += 1
        yield f"({number}) {texts[number % len(texts)]}"


def labelled(house: House, key: str, texts: Sequence[str]) -> None:
    """Past prompts with outcomes, so that there is something to search."""
    for number, text in enumerate(texts):
        outcomes = {"deepseek-chat": float(number % 3 > 0), "claude-sonnet": 1.0}
        body = {"task_class": "bench", "text": text, "outcomes": outcomes}
        ask(f"{house.address}/labels", body, {"authorization": f"Bearer {key}"})


def measured(server: Upstream, folder: Path, rounds: int, warm_up: int) -> dict[str, Any]:
    with ExitStack() as stack:
        _, house = stack.enter_context(pennyroute(server, folder, 1, fleets=EMBEDDER))
        key, asked = house.key_file.read_text().strip(), questions()
        decisions(house, key, asked, warm_up)
        plain = decisions(house, key, asked, rounds)
        labelled(house, key, [prompt.text for prompt in read_prompts()])
        time.sleep(6)  # how many past prompts a tenant has is looked up every few seconds
        decisions(house, key, asked, warm_up)
        mixed = decisions(house, key, asked, rounds)
    with_neighbours = [each for each in mixed if each.past_prompts]
    return {
        "without_embedding": _spread([each.took_ms for each in plain]),
        "with_embedding": _spread([each.took_ms for each in with_neighbours]),
        "share_that_looked": len(with_neighbours) / len(mixed),
        "all_with_past_prompts": _spread([each.took_ms for each in mixed]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"n": len(values), "p50_ms": float("nan"), "p95_ms": float("nan")}
    return {"n": len(values), "p50_ms": statistics.median(values), "p95_ms": statistics.quantiles(values, n=20)[-1]}


GROWTH = """
import resource, sys
import orchestrator.wiring
def rss(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()
before = rss()
import numpy
from orchestrator.adapters.artefacts import shipped_judge, shipped_predictor
judge, predictor = shipped_judge(), shipped_predictor()
for n in range(200): predictor.read(f'({n}) ' + 'What is the capital of France, and why? ' * 20)
from orchestrator.adapters import prompt_vectors
dice = numpy.random.default_rng(0)
vectors = [dice.random(prompt_vectors.DIMENSIONS, numpy.float32) for _ in range(prompt_vectors._MOST_KEPT)]
print((rss() - before) / 1e6)
"""


def memory_added_mb() -> float:
    """Both artefacts read and used and the cache of vectors full, in a fresh process that has imported the service."""
    told = subprocess.run([sys.executable, "-c", GROWTH], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(told.stdout)


def report(figures: dict[str, Any], memory_mb: float) -> dict[str, Any]:
    plain, embedded = figures["without_embedding"], figures["with_embedding"]
    goals = [
        ("decision_p50_ms_without_embedding", plain["p50_ms"], MOST_PLAIN_MS),
        ("decision_p50_ms_with_embedding", embedded["p50_ms"], MOST_EMBEDDED_MS),
        ("memory_added_mb", memory_mb, MOST_MEMORY_MB),
    ]
    told = [{"name": n, "value": round(v, 3), "goal": most, "met": v <= most} for n, v, most in goals]
    return {"bench": "decision", "figures": figures, "published": PUBLISHED, "goals": told}


def show(told: dict[str, Any], console: Console) -> None:
    table = Table("decision", "n", "p50 ms", "p95 ms", title="One decision in the running service")
    for name in ("without_embedding", "with_embedding", "all_with_past_prompts"):
        row = told["figures"][name]
        table.add_row(name.replace("_", " "), str(row["n"]), f"{row['p50_ms']:.2f}", f"{row['p95_ms']:.2f}")
    console.print(table)
    console.print(f"{told['figures']['share_that_looked']:.0%} of decisions were close enough to look up past prompts")
    console.print(told["published"])
    for goal in told["goals"]:
        console.print(f"{'met' if goal['met'] else 'missed'}: {goal['name']} is {goal['value']}, goal {goal['goal']}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench decision", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    asked = parser.parse_args()
    rounds, warm_up = (120, 30) if asked.quick else (600, 100)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(temporary_folder()))
        figures = measured(stack.enter_context(upstream()), folder, rounds, warm_up)
    told = report(figures, memory_added_mb())
    if asked.json:
        print(json.dumps(told))
    else:
        show(told, Console(width=120))
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


if __name__ == "__main__":
    sys.exit(main())
