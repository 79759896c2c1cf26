"""Added latency, requests/s, memory and CPU of `POST /route`, beside the provider called directly and LiteLLM's proxy.

One run, the same upstream (the wire server: real protocol, synthetic answers), the same two cores for all; so
compare within a run, and quote ratios. Every answer is checked, and the upstream's and the ledger's counts too."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import processes
from gateways import (
    Gateway,
    Upstream,
    direct,
    litellm,
    litellm_version,
    logged,
    pennyroute,
    temporary_folder,
    upstream,
)
from rich.console import Console
from rich.table import Table

LOAD = Path(__file__).with_name("load.py")
LEAST_RATIO, MOST_MEMORY_MB, RATED_CALLERS = 10.0, 250.0, 16
EVENT_MS = 5
"""Between the events of the upstream's streams: without a pause no first token would come before the last."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: each cell `repeats` times for `duration_s`, gateways in turn."""

    cells: Sequence[tuple[int, int]]
    """(upstream's latency in ms, callers)"""
    stream_callers: Sequence[int]
    repeats: int
    duration_s: float
    warm_up_s: float


FULL = Plan(
    cells=[(latency, callers) for latency in (0, 50) for callers in (1, 16, 64)],
    stream_callers=(1, 16),
    repeats=3,
    duration_s=3.0,
    warm_up_s=3.0,
)
QUICK = Plan(cells=[(0, 1), (0, 16), (50, 16)], stream_callers=(16,), repeats=1, duration_s=2.0, warm_up_s=1.5)


@dataclass(kw_only=True)
class Figure:
    """One gateway in one cell: medians of the repeats, `rps_spread` their least and greatest."""

    gateway: str
    upstream_ms: int
    callers: int
    stream: bool
    requests: int
    bad: int
    example_of_bad: str | None
    rps: float
    rps_spread: tuple[float, float]
    p50_ms: float | None
    p99_ms: float | None
    added_p50_ms: float | None = None
    added_p99_ms: float | None = None
    first_token_p50_ms: float | None = None
    first_token_p99_ms: float | None = None
    cpu_ms_per_request: float = 0.0
    database_cpu_ms_per_request: float = 0.0


@dataclass(kw_only=True)
class Check:
    """Two counts that must be equal for the figures to mean anything."""

    what: str
    found: int
    expected: int

    @property
    def holds(self) -> bool:
        return self.found == self.expected


@dataclass(kw_only=True)
class Bench:
    """Gathers figures and checks over one run."""

    plan: Plan
    server: Upstream
    gateways: Sequence[Gateway]
    say: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        self.warm_up()
        for latency_ms, callers in self.plan.cells:
            self.server.behave(latency_ms=latency_ms)
            self.measure(latency_ms, callers, stream=False)
        self.server.behave(event_ms=EVENT_MS)
        for callers in self.plan.stream_callers:
            self.measure(0, callers, stream=True)

    def warm_up(self) -> None:
        self.server.behave(latency_ms=0)
        for gateway in self.gateways:
            self.say(f"warming up {gateway.name}")
            for stream in (False, True):
                self.load(gateway, RATED_CALLERS, self.plan.warm_up_s, stream)

    def measure(self, latency_ms: int, callers: int, stream: bool) -> None:
        self.say(f"upstream {latency_ms} ms, {callers} callers{', streams' if stream else ''}")
        runs: dict[str, list[dict[str, Any]]] = {gateway.name: [] for gateway in self.gateways}
        for _ in range(self.plan.repeats):
            for gateway in self.gateways:
                runs[gateway.name].append(self.load(gateway, callers, self.plan.duration_s, stream))
        found = [_figure(name, latency_ms, callers, stream, several) for name, several in runs.items()]
        base = found[0]
        for figure in found[1:]:
            figure.added_p50_ms = _less(figure.p50_ms, base.p50_ms)
            figure.added_p99_ms = _less(figure.p99_ms, base.p99_ms)
        self.figures.extend(found)

    def load(self, gateway: Gateway, callers: int, duration_s: float, stream: bool) -> dict[str, Any]:
        """One run of the load generator in its own process, with what it cost the gateway."""
        own, more = gateway.pids(), gateway.more_pids()
        before, called = (processes.cpu_s(own), processes.cpu_s(more)), self.server.called()
        job = json.dumps(gateway.job(callers, duration_s, stream))
        done = subprocess.run([sys.executable, str(LOAD)], input=job, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the load generator failed on {gateway.name}: {done.stderr[-1500:]}")
        result: dict[str, Any] = json.loads(done.stdout)
        if not result["requests"]:
            raise RuntimeError(f"{gateway.name} gave no good answer; an example: {result['example']}")
        result["cpu_s"] = processes.cpu_s(own) - before[0]
        result["database_cpu_s"] = processes.cpu_s(more) - before[1]
        count = result["requests"] + result["bad"]
        self.sent[gateway.name] = self.sent.get(gateway.name, 0) + count
        what = f"{gateway.name}, {callers} callers: calls that reached the upstream"
        self.checks.append(Check(what=what, found=self.server.called() - called, expected=count))
        return result


def _figure(name: str, latency_ms: int, callers: int, stream: bool, runs: Sequence[dict[str, Any]]) -> Figure:
    def median(key: str) -> float | None:
        values = [run[key] for run in runs if run[key] is not None]
        return statistics.median(values) if values else None

    rates, requests = [run["rps"] for run in runs], sum(run["requests"] for run in runs)
    return Figure(
        gateway=name,
        upstream_ms=latency_ms,
        callers=callers,
        stream=stream,
        requests=requests,
        bad=sum(run["bad"] for run in runs),
        example_of_bad=next((run["example"] for run in runs if run["example"]), None),
        rps=statistics.median(rates),
        rps_spread=(min(rates), max(rates)),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        first_token_p50_ms=median("first_token_p50_ms"),
        first_token_p99_ms=median("first_token_p99_ms"),
        cpu_ms_per_request=1000 * sum(run["cpu_s"] for run in runs) / requests,
        database_cpu_ms_per_request=1000 * sum(run["database_cpu_s"] for run in runs) / requests,
    )


def _less(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def report(bench: Bench, memory: dict[str, dict[str, float]], took_s: float, litellm_is: str) -> dict[str, Any]:
    """The one object `--json` prints."""
    rated = {f.gateway: f for f in bench.figures if (f.upstream_ms, f.callers, f.stream) == (0, RATED_CALLERS, False)}
    ratio = rated["pennyroute"].rps / rated["litellm"].rps if "litellm" in rated else None
    peak_mb = memory["pennyroute"]["peak_mb"]
    goals = [
        {"name": "memory_mb", "value": round(peak_mb, 1), "goal": MOST_MEMORY_MB, "met": peak_mb <= MOST_MEMORY_MB},
        {"name": "bad_answers", "value": sum(f.bad for f in bench.figures), "goal": 0,
         "met": not any(f.bad for f in bench.figures)},
        {"name": "counts_that_differ", "value": sum(not c.holds for c in bench.checks), "goal": 0,
         "met": all(c.holds for c in bench.checks)},
    ]  # fmt: skip
    if ratio is not None:
        name = f"times_litellm_rps_at_{RATED_CALLERS}_callers"
        goals.insert(0, {"name": name, "value": round(ratio, 2), "goal": LEAST_RATIO, "met": ratio >= LEAST_RATIO})
    return {
        "bench": "gateway",
        "machine": {
            "cpus": len(processes.os.sched_getaffinity(0)),
            "system": platform.platform(),
            "python": platform.python_version(),
            "litellm": litellm_is,
            "uvicorn": version("uvicorn"),
        },
        "took_s": round(took_s, 1),
        "figures": [asdict(figure) for figure in bench.figures],
        "memory": memory,
        "checks": [{**asdict(check), "holds": check.holds} for check in bench.checks if not check.holds],
        "checks_held": sum(check.holds for check in bench.checks),
        "goals": goals,
    }


def show(told: dict[str, Any], console: Console) -> None:
    for stream in (False, True):
        console.print(_table([f for f in told["figures"] if f["stream"] is stream], stream))
    for name, memory in told["memory"].items():
        console.print(f"{name}: {memory['rss_mb']:.0f} MB after the load, {memory['peak_mb']:.0f} MB at most")
    for f in told["figures"]:
        if f["bad"]:
            console.print(f"[red]{f['bad']} bad answers[/] of {f['gateway']} at {f['callers']} callers:")
            console.print(f["example_of_bad"], markup=False)
    for check in told["checks"]:
        console.print(f"[red]differs[/]: {check['what']}: {check['found']}, expected {check['expected']}")
    console.print(f"{told['checks_held']} counts compared and equal; {told['took_s']:.0f} s in all")
    for goal in told["goals"]:
        mark = "[green]met[/]" if goal["met"] else "[red]missed[/]"
        console.print(f"{mark}: {goal['name']} is {goal['value']}, goal {goal['goal']}")


def _table(figures: Sequence[dict[str, Any]], stream: bool) -> Table:
    table = Table(title=f"Streams, {EVENT_MS} ms between events" if stream else "Whole answers")
    names = ["upstream ms", "callers", "gateway", "requests/s (least–greatest)", "p50 ms", "p99 ms", "added p50",
             "added p99", "CPU ms/request", "database CPU"]  # fmt: skip
    for name in names + (["first token p50", "p99"] if stream else []):
        table.add_column(name, justify="right")
    for f in figures:
        least, greatest = f["rps_spread"]
        cells = [
            str(f["upstream_ms"]),
            str(f["callers"]),
            f["gateway"],
            f"{f['rps']:,.0f} ({least:,.0f}–{greatest:,.0f})",
        ]
        timed = [
            "p50_ms",
            "p99_ms",
            "added_p50_ms",
            "added_p99_ms",
            "cpu_ms_per_request",
            "database_cpu_ms_per_request",
        ]
        timed += ["first_token_p50_ms", "first_token_p99_ms"] if stream else []
        table.add_row(*cells, *["" if f[name] is None else f"{f[name]:.2f}" for name in timed])
    return table


def main() -> int:
    asked = _arguments()
    notes = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began_s = time.monotonic()

    def say(words: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began_s:5.1f} s[/] {words}")

    with ExitStack() as stack:
        folder = Path(stack.enter_context(temporary_folder()))
        server = stack.enter_context(upstream())
        gateway, house = stack.enter_context(pennyroute(server, folder, asked.api_processes))
        compared = [direct(server), gateway]
        if not asked.without_litellm:
            compared.append(stack.enter_context(litellm(server, folder, say)))
        bench = Bench(plan=QUICK if asked.quick else FULL, server=server, gateways=compared, say=say)
        bench.run()
        bench.checks.append(Check(what="rows of the log", found=logged(house), expected=bench.sent["pennyroute"]))
        memory = {
            g.name: {"rss_mb": processes.memory_mb(g.pids()), "peak_mb": processes.memory_mb(g.pids(), "VmHWM")}
            for g in compared
        }
    is_version = "not compared" if asked.without_litellm else litellm_version()
    told = report(bench, memory, time.monotonic() - began_s, is_version)
    if asked.json:
        print(json.dumps(told))
    else:
        show(told, Console(width=160))
    return 0 if all(goal["met"] for goal in told["goals"]) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench gateway", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object with figures and goals")
    parser.add_argument("--quick", action="store_true", help="fewer cells, one repeat: about a minute")
    parser.add_argument("--without-litellm", action="store_true", help="only direct and ours; installs nothing")
    parser.add_argument("--api-processes", type=int, default=1, help="of ours (default 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
