"""Three models in turn on one worker with memory for two, and the queue's round trip without load: parts of `local`.

`local_turns.py worker REDIS_URL FOLDER MEMORY_BYTES MODEL_BYTES` is that worker: MiniLM under three names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from gateways import ROOT
from load import percentile_ms
from local_peers import MINILM

from orchestrator.adapters.embedded.servers import embedded_servers
from orchestrator.adapters.providers.local_queue import LocalQueueProvider
from orchestrator.core.types import Call
from registry.load import Registry, load
from registry.schema import Task

COPIES = ("minilm-copy-1", "minilm-copy-2", "minilm-copy-3")
CALLERS_PER_MODEL = 2
ROUND_TRIPS = 400
PAUSE_S = 0.005  # between two calls: the queue is at rest when the next one comes
AMPLE_BYTES = 64 * 2**30
GUESSED_BYTES = 200 * 10**6


def registry(model_bytes: int) -> Registry:
    """`model_bytes`: what one of the copies takes. MiniLM's own card tells of a process that has nothing else."""
    minilm = load().get(MINILM)
    variants = tuple(each.model_copy(update={"memory_bytes": model_bytes}) for each in minilm.variants)
    facts = {"memory_bytes": model_bytes, "variants": variants, "aliases": ()}
    return load().with_cards([minilm.model_copy(update={"id": name, **facts}) for name in COPIES])


def call(model: str, text: str) -> Call:
    return Call(attempt_id=uuid.uuid4(), model_id=model, api_model="", task=Task.EMBED, texts=(text,), timeout_s=60.0)


async def round_trips(redis_url: str, texts: Sequence[str]) -> dict[str, Any]:
    """Milliseconds of the whole way API → queue → worker → API less the inference, one call after the other."""
    provider = LocalQueueProvider(redis_url, load())
    ways_s: list[float] = []
    try:
        for number in range(ROUND_TRIPS + 20):
            began_s = time.perf_counter()
            reply = await provider.complete(call(MINILM, texts[number % len(texts)]))
            took_s = time.perf_counter() - began_s
            if number >= 20:
                ways_s.append(took_s - (reply.timings_ms["inference"] + reply.timings_ms["load"]) / 1e3)
            await asyncio.sleep(PAUSE_S)
    finally:
        await provider.close()
    return {"calls": len(ways_s), "p50_ms": percentile_ms(ways_s, 0.5), "p99_ms": percentile_ms(ways_s, 0.99)}


async def turns(folder: Path, texts: Sequence[str], duration_s: float) -> dict[str, Any]:
    """Alternating load on three models where two fit: loads per 100 requests, and the longest wait for an answer."""
    with embedded_servers(folder / "servers") as urls:
        with _worker(urls.redis_url, folder, AMPLE_BYTES, GUESSED_BYTES):
            sizes = await _sizes(urls.redis_url, texts)
        each = (sizes[2] - sizes[0]) // 2
        budget = sizes[1] + each // 2
        with _worker(urls.redis_url, folder, budget, each):
            found = await _alternate(urls.redis_url, texts, duration_s)
    return {**found, "budget_mb": round(budget / 1e6), "model_mb": round(each / 1e6)}


async def _sizes(redis_url: str, texts: Sequence[str]) -> list[int]:
    """Memory of the worker with one, two and three models loaded, as it announces it."""
    provider, sizes = LocalQueueProvider(redis_url, registry(GUESSED_BYTES)), []
    try:
        for name in COPIES:
            for text in texts[:20]:
                await provider.complete(call(name, text))
            await asyncio.sleep(4.0)  # the next announcement
            sizes.append(int(_announced(redis_url)["memory"]["resident_bytes"]))
    finally:
        await provider.close()
    return sizes


async def _alternate(redis_url: str, texts: Sequence[str], duration_s: float) -> dict[str, Any]:
    provider = LocalQueueProvider(redis_url, registry(GUESSED_BYTES))
    took: dict[str, list[float]] = {name: [] for name in COPIES}

    async def caller(name: str, first: int, ends_s: float) -> None:
        number = first
        while time.perf_counter() < ends_s:
            began_s = time.perf_counter()
            await provider.complete(call(name, texts[number % len(texts)]))
            took[name].append(time.perf_counter() - began_s)
            number += 1

    try:
        for name in COPIES:
            await provider.complete(call(name, texts[0]))
        await asyncio.sleep(4.0)
        before = _loads(redis_url)
        ends_s = time.perf_counter() + duration_s
        await asyncio.gather(*(caller(name, n, ends_s) for name in COPIES for n in range(CALLERS_PER_MODEL)))
        await asyncio.sleep(4.0)
        loads = _loads(redis_url) - before
    finally:
        await provider.close()
    every = [each for times in took.values() for each in times]
    return {
        "requests": len(every),
        "loads": loads,
        "loads_per_100": round(100 * loads / len(every), 1),
        "p50_ms": percentile_ms(every, 0.5),
        "longest_wait_ms": round(max(every) * 1e3, 1),
        "requests_per_model": [len(took[name]) for name in COPIES],
    }


def _loads(redis_url: str) -> int:
    return sum(int(_announced(redis_url)["models"][name]["loads"]) for name in COPIES)


def _announced(redis_url: str) -> dict[str, Any]:
    """What the only worker says of itself."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        (key,) = list(client.scan_iter("pennyroute:worker:*"))
        state: dict[str, Any] = json.loads(str(client.get(key)))
    return state


@contextlib.contextmanager
def _worker(redis_url: str, folder: Path, memory_bytes: int, model_bytes: int) -> Iterator[None]:
    command = [sys.executable, __file__, "worker", redis_url, str(folder), str(memory_bytes), str(model_bytes)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        (folder / "turns.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=env) as process,
    ):
        try:
            _until_announced(redis_url, process.pid)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _until_announced(redis_url: str, pid: int) -> None:
    ends_s = time.monotonic() + 60
    while time.monotonic() < ends_s:
        with contextlib.suppress(ValueError):
            if _announced(redis_url)["pid"] == pid:
                return
        time.sleep(0.1)
    raise RuntimeError("the worker of three models did not start; see turns.log")


def serve(redis_url: str, folder: Path, memory_bytes: int, model_bytes: int) -> int:
    from workers.app import WorkerSettings  # noqa: PLC0415 - the worker's part
    from workers.process import work  # noqa: PLC0415

    settings = WorkerSettings(redis_url=redis_url, data_dir=folder, memory_bytes=memory_bytes)
    return work(settings, ["embeddings"], registry=registry(model_bytes))


if len(sys.argv) == 6 and sys.argv[1] == "worker":
    sys.exit(serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
