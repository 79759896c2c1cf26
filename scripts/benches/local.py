"""Sentences/s of local embeddings through the whole path, beside the same backend called directly, torch and Infinity.

One run, the same weights in fp32, the same number of threads, the same two cores for all; so compare within a run, and
quote ratios. Whole path: HTTP `POST /route` → queue → worker → back, with routing, ledger, log and key check. Every
answer is checked, the vectors of all are compared first, and each request is looked for in the log."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import local_turns
import processes
from gateways import logged, temporary_folder
from local_peers import (
    Runner,
    direct,
    infinity,
    infinity_python,
    infinity_versions,
    install_infinity,
    pennyroute,
)
from local_tables import show
from rich.console import Console

LEAST_OF_DIRECT, LEAST_TIMES_TORCH, LEAST_TIMES_INFINITY, MOST_ROUND_TRIP_MS = 0.8, 3.0, 1.0, 5.0
CLOSE = 1e-4
"""The greatest difference of two vectors' components that counts as the same: fp32 in another order of sums."""
RATED, FULL_BATCHES = (1, 32), (32, 1)
"""(texts per call, callers): what the goals are about, and what the backend itself is measured with."""
SUBJECTS = (
    "the harbour office", "a retired teacher", "the night train", "our smallest supplier", "the city archive",
    "a young beekeeper", "the repair shop", "the weather station", "a travelling musician", "the court clerk",
    "an old lighthouse", "the bakery downstairs", "a marine biologist", "the local newspaper", "the second engineer",
    "a careful translator",
)  # fmt: skip
DEEDS = (
    "closed the northern gate because of the storm", "asked for a refund after three weeks",
    "found two letters that nobody had opened", "was late again and blamed the timetable",
    "explained how the new tariff works", "sold more umbrellas than in the whole of last year",
    "measured the depth of the river every hour", "refused to sign without a second witness",
    "painted the doors in a colour nobody had chosen", "promised an answer by Thursday at noon",
    "repaired the clock and would not take money for it", "wrote a short note about birds",
    "compared the prices of four small islands", "counted the empty boxes twice",
    "remembered the name of every visitor", "moved to a quieter street near the park",
)  # fmt: skip
SENTENCES = [f"{subject[0].upper()}{subject[1:]} {deed}." for subject in SUBJECTS for deed in DEEDS]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: each cell `repeats` times for `duration_s`, the backends in turn. The cells of a group, whose
    ratio is a goal, take turns too: a machine that slows down meanwhile slows both."""

    groups: Sequence[Sequence[tuple[int, int]]] = (((1, 1),), ((8, 1),), (FULL_BATCHES, RATED))
    repeats: int = 3
    duration_s: float = 4.0
    warm_up_s: float = 2.0
    turns_s: float = 20.0


QUICK = Plan(groups=(((1, 1),), (FULL_BATCHES, RATED)), repeats=1, duration_s=2.0, warm_up_s=1.0, turns_s=8.0)


@dataclass(kw_only=True)
class Figure:
    """One backend in one cell: medians of the repeats, `spread` their least and greatest."""

    backend: str
    texts_per_call: int
    callers: int
    sentences_per_s: float
    spread: tuple[float, float]
    p50_ms: float | None
    p99_ms: float | None
    cpu_ms_per_item: dict[str, float]


@dataclass(kw_only=True)
class Bench:
    """Gathers figures over one run."""

    plan: Plan
    runners: Sequence[Runner]
    say: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        for runner in self.runners:
            self.say(f"warming up {runner.name}")
            self.load(runner, *(RATED if runner.serves else FULL_BATCHES), self.plan.warm_up_s)
        for group in self.plan.groups:
            self.measure(group)

    def measure(self, cells: Sequence[tuple[int, int]]) -> None:
        self.say(" and ".join(f"{callers} callers with {texts} texts a call" for texts, callers in cells))
        runs: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
        for _ in range(self.plan.repeats):
            for runner in self.runners:
                for texts_per_call, callers in cells:
                    if runner.serves or callers == 1:
                        done = self.load(runner, texts_per_call, callers, self.plan.duration_s)
                        runs.setdefault((runner.name, texts_per_call, callers), []).append(done)
        for cell in cells:
            self.figures += [_figure(*key, several) for key, several in runs.items() if key[1:] == cell]

    def load(self, runner: Runner, texts_per_call: int, callers: int, duration_s: float) -> dict[str, Any]:
        done = runner.run(SENTENCES, texts_per_call, callers, duration_s)
        if not done["items"]:
            raise RuntimeError(f"{runner.name} gave no good answer; an example: {runner.bad[:1]}")
        self.requests[runner.name] = self.requests.get(runner.name, 0) + done["items"] // texts_per_call
        return done

    def rate(self, backend: str, texts_per_call: int, callers: int) -> float | None:
        cell = (backend, texts_per_call, callers)
        found = (f for f in self.figures if (f.backend, f.texts_per_call, f.callers) == cell)
        return next((figure.sentences_per_s for figure in found), None)


def _figure(backend: str, texts_per_call: int, callers: int, runs: Sequence[dict[str, Any]]) -> Figure:
    rates = [run["items"] / run["wall_s"] for run in runs]
    items = sum(run["items"] for run in runs)
    served = runs[0]["p50_ms"] is not None
    return Figure(
        backend=backend,
        texts_per_call=texts_per_call,
        callers=callers,
        sentences_per_s=round(statistics.median(rates), 1),
        spread=(round(min(rates), 1), round(max(rates), 1)),
        p50_ms=statistics.median(run["p50_ms"] for run in runs) if served else None,
        p99_ms=statistics.median(run["p99_ms"] for run in runs) if served else None,
        cpu_ms_per_item={
            part: round(1e3 * sum(run["cpu_s"][part] for run in runs) / items, 3) for part in runs[0]["cpu_s"]
        },
    )


def greatest_differences(runners: Sequence[Runner]) -> dict[str, float]:
    """Per backend, from the first one's vectors of a few sentences: what is compared must be the same."""
    texts = SENTENCES[::37]
    first = runners[0].vectors(texts)
    return {
        runner.name: max(
            abs(one - other)
            for row, base in zip(runner.vectors(texts), first, strict=True)
            for one, other in zip(row, base, strict=True)
        )
        for runner in runners
    }


def goals(bench: Bench, differences: dict[str, float], round_trip: dict[str, Any], missing_rows: int) -> list[Any]:
    ours, direct_rate = bench.rate("pennyroute", *RATED), bench.rate("direct", *FULL_BATCHES)
    found = [("share_of_direct_at_32_callers", _ratio(ours, direct_rate), ">=", LEAST_OF_DIRECT)]
    for name, peer, least in (
        ("times_torch_one_by_one", bench.rate("torch", 1, 1), LEAST_TIMES_TORCH),
        ("times_infinity_torch_at_32_callers", bench.rate("infinity-torch", *RATED), LEAST_TIMES_INFINITY),
        ("times_infinity_onnx_at_32_callers", bench.rate("infinity-onnx", *RATED), LEAST_TIMES_INFINITY),
    ):
        if peer is not None:
            found.append((name, _ratio(ours, peer), ">=", least))
    found += [
        ("queue_round_trip_p50_ms", round(round_trip["p50_ms"], 2), "<=", MOST_ROUND_TRIP_MS),
        ("greatest_difference_of_vectors", max(differences.values()), "<=", CLOSE),
        ("bad_answers", sum(len(runner.bad) for runner in bench.runners), "<=", 0),
        ("requests_missing_in_the_log", missing_rows, "<=", 0),
    ]
    return [
        {"name": name, "value": value, "goal": goal, "met": value >= goal if way == ">=" else value <= goal}
        for name, value, way, goal in found
    ]


def _ratio(one: float | None, other: float | None) -> float:
    assert one is not None
    assert other is not None
    return round(one / other, 3)


def measure(stack: ExitStack, asked: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything, as the one object `--json` prints."""
    began_s = time.monotonic()
    plan = QUICK if asked.quick else Plan()
    folder = Path(stack.enter_context(temporary_folder()))
    runners = [stack.enter_context(direct("direct", "ours", Path(sys.executable), folder, asked.threads))]
    if not asked.without_peers:
        install_infinity(say)
        runners.append(stack.enter_context(direct("torch", "torch", infinity_python(), folder, asked.threads)))
        runners += [stack.enter_context(infinity(engine, folder, asked.threads)) for engine in ("torch", "onnx")]
    with pennyroute(folder) as (gateway, house):
        runners.append(gateway)
        differences = greatest_differences(runners)
        asked_before = logged(house)
        bench = Bench(plan=plan, runners=runners, say=say)
        bench.run()
        missing_rows = bench.requests["pennyroute"] - (logged(house) - asked_before)
        say("the queue's round trip")
        round_trip = asyncio.run(local_turns.round_trips(house.redis_url, SENTENCES))
        memory = {runner.name: _memory(runner) for runner in runners}
    say("three models where two fit")
    turns = asyncio.run(local_turns.turns(folder, SENTENCES, plan.turns_s))
    return {
        "bench": "local",
        "machine": {
            "cpus": len(processes.os.sched_getaffinity(0)),
            "system": platform.platform(),
            "python": platform.python_version(),
            "threads": asked.threads,
            "peers": {} if asked.without_peers else infinity_versions(),
        },
        "took_s": round(time.monotonic() - began_s, 1),
        "figures": [asdict(figure) for figure in bench.figures],
        "round_trip": round_trip,
        "turns": turns,
        "start_s": {runner.name: round(runner.start_s, 2) for runner in runners},
        "memory_mb": memory,
        "differences": differences,
        "bad": {runner.name: runner.bad[:1] for runner in runners if runner.bad},
        "goals": goals(bench, differences, round_trip, missing_rows),
    }


def _memory(runner: Runner) -> dict[str, float]:
    return {part: round(processes.memory_mb(pids, "VmHWM"), 1) for part, pids in runner.parts().items()}


def main() -> int:
    asked = _arguments()
    notes = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_s = time.monotonic()

    def say(words: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began_s:5.1f} s[/] {words}")

    with ExitStack() as stack:
        told = measure(stack, asked, say)
    if asked.json:
        print(json.dumps(told))
    else:
        show(told, Console(width=140))
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench local", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help="fewer cells, one repeat: two minutes")
    parser.add_argument("--without-peers", action="store_true", help="only ours; installs nothing")
    parser.add_argument("--threads", type=int, default=1, help="per inference, for all (default 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
