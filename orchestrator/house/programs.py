"""The programs of one machine as data: API, workers and clock, and how each shows that it is ready."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import redis

from orchestrator.adapters.embedded.process import ProcessSpec
from registry.machine import limit_bytes

# Name → queues. The drivers do not know each other; a test holds this equal to workers.app.FLEETS.
FLEETS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("embeddings", ("embeddings", "rerank")),
    ("text", ("sentiment", "toxicity", "classify")),
    ("reading", ("ocr", "document", "vision")),
    ("audio", ("audio",)),
    ("llm", ("llm",)),
    ("upkeep", ("upkeep", "jobs")),
)
# Queue → how much of the workers' memory its models ask for, against each other: language models are the large ones.
MEMORY_WEIGHTS: Mapping[str, float] = {"llm": 4.0, "audio": 1.5, "upkeep": 0.0, "jobs": 0.0}
USUAL_WEIGHT = 1.0
# The shares overlap: not every worker holds its largest model at once, and a load is refused (or makes room first)
# where the machine itself has not that much available. Shares that only add up to the machine kept a model of 3.5 GB
# off one of 24 GB for ever.
WORKERS_SHARE = 1.5
PROCESS_BYTES = 100 * 10**6  # of a worker without a model: 52 MB were seen before a connection and an engine's library
MOST_SHARE = 0.75  # for one of them: the rest is for the database, the API and the system
# -P: a folder named `workers` where the user happens to stand must not be run instead of ours.
PYTHON = (sys.executable, "-P", "-m")
# Where workers announce themselves: a sorted set of ids, and per id a key with a JSON object that has the pid.
WORKER_INDEX, WORKER_KEY = "pennyroute:workers", "pennyroute:worker:"


def api_programs(
    count: int, listener: socket.socket, run: Path, env: Mapping[str, str], app: str | None = None
) -> list[ProcessSpec]:
    """`count` API processes that accept from one listening socket; `app` replaces the usual module:factory."""
    return [_api(f"api-{number}", listener, run, env, app) for number in range(1, count + 1)]


def _api(name: str, listener: socket.socket, run: Path, env: Mapping[str, str], app: str | None) -> ProcessSpec:
    ready_file = run / f"{name}.ready"
    command = [*PYTHON, "orchestrator.http.serve", "--fd", str(listener.fileno())]
    command += ["--ready-file", str(ready_file), *(("--app", app) if app else ())]
    return ProcessSpec(
        name=name,
        command=tuple(command),
        env=env,
        fds=(listener.fileno(),),
        ready=lambda pid: _read_pid(ready_file) == pid,
        stop_timeout_s=15.0,  # uvicorn gives running requests 10 s
    )


def worker_programs(
    fleets: Sequence[tuple[str, tuple[str, ...]]], redis_url: str, env: Mapping[str, str], share: float | None = None
) -> list[ProcessSpec]:
    """One worker process per fleet (name, queues), which share the machine's memory; ready when it has announced
    itself over Redis. `share`: as in `memory_shares`."""
    shares = memory_shares(fleets, share)
    return [
        ProcessSpec(
            name=f"worker-{name}",
            command=(*PYTHON, "workers", "--queues", ",".join(queues), *_share_flag(shares[name])),
            env=env,
            ready=announced_at(redis_url),
            stop_timeout_s=12.0,  # a soft shutdown lets the running inference finish for 5 s
        )
        for name, queues in fleets
    ]


def memory_shares(fleets: Sequence[tuple[str, tuple[str, ...]]], share: float | None = None) -> dict[str, float]:
    """Fleet → its part of the machine's memory, 0.0 for one that runs no model; together WORKERS_SHARE at most, and
    MOST_SHARE for one. `share`: what each gets instead."""
    weights = {name: sum(MEMORY_WEIGHTS.get(queue, USUAL_WEIGHT) for queue in queues) for name, queues in fleets}
    total = sum(weights.values()) or 1.0
    parts = {name: share or min(MOST_SHARE, WORKERS_SHARE * weight / total) for name, weight in weights.items()}
    return {name: part if weights[name] else 0.0 for name, part in parts.items()}


def queue_memory_bytes(share: float | None = None) -> dict[str, int]:
    """Queue → bytes that models may keep in the worker which `up` starts for it on this machine. `share`: as above."""
    limit, shares = limit_bytes(), memory_shares(FLEETS, share)
    kept = {name: models_bytes(int(limit * part)) for name, part in shares.items() if part}
    return {queue: kept[name] for name, queues in FLEETS if name in kept for queue in queues}


def models_bytes(budget_bytes: int) -> int:
    """Of what a worker may keep in all, what is left for its models."""
    return max(0, budget_bytes - PROCESS_BYTES)


def _share_flag(share: float) -> tuple[str, ...]:
    return ("--memory-share", f"{share:.3f}") if share else ()


def beat_program(env: Mapping[str, str]) -> ProcessSpec:
    return ProcessSpec(name="beat", command=(*PYTHON, "workers", "--beat"), env=env)


def announced_at(redis_url: str) -> Callable[[int], bool]:
    """Asks whether a worker with this pid has announced itself; one connection for all its questions."""
    client = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2, decode_responses=True)

    def announced(pid: int) -> bool:
        try:
            ids = client.zrange(WORKER_INDEX, 0, -1)
            texts = client.mget([WORKER_KEY + str(worker) for worker in ids]) if ids else []
        except redis.RedisError:
            return False
        return any(json.loads(text).get("pid") == pid for text in texts if text)

    return announced


def program_env(database_url: str, redis_url: str, data_dir: Path) -> dict[str, str]:
    """The caller's environment with what the children must agree on laid over it."""
    return {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PENNYROUTE_DATA_DIR": str(data_dir),
        "PYTHONUNBUFFERED": "1",
    }


def _read_pid(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0
