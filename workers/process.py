"""One process from start to end: a Celery worker with its runtime and announcer, or beat; no rule here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery, signals
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from registry.load import load
from workers.announce import Announcer
from workers.app import INFER_TASK, ROOMS, WorkerSettings, create_app
from workers.infer import Order, answer
from workers.modality import Machine
from workers.runtime import Limits, Runtime
from workers.upkeep import upkeep_tasks

REDIS_TRIES = 6  # with the backoff below about 6 s: a restarted Redis is waited for, then the task comes back


def work(settings: WorkerSettings, queues: Sequence[str]) -> int:
    """Serves the queues until a signal; returns the exit code."""
    redis = _redis(settings.redis_url)
    runtime = Runtime(
        load(),
        ROOMS,
        Machine(models_dir=settings.models_dir, threads=settings.threads),
        Limits(models=settings.max_models, memory_bytes=settings.memory_bytes),
    )
    announcer = Announcer(redis, queues, lambda: runtime.announce(queues))
    app = create_app(settings, {INFER_TASK: _infer_task(runtime, redis, announcer), **upkeep_tasks()})
    return _serve(app, queues, announcer)


def beat(settings: WorkerSettings) -> int:
    """Sends the scheduled tasks until a signal; its memory of what was sent lies in the data folder."""
    app = create_app(settings, upkeep_tasks())
    run_dir = settings.data_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    app.Beat(schedule=str(run_dir / "beat-schedule"), loglevel="INFO", quiet=True).run()
    return 0


def _infer_task(runtime: Runtime, redis: Redis, announcer: Announcer) -> Callable[..., None]:
    def infer(task: Any, /, **message: Any) -> None:
        announcer.working_on(task.request.properties["delivery_tag"])
        try:
            answer(Order(**message), runtime, redis)
        finally:
            announcer.working_on(None)

    return infer


def _serve(app: Celery, queues: Sequence[str], announcer: Announcer) -> int:
    def ready(**_: Any) -> None:
        announcer.start()

    signals.worker_ready.connect(ready, weak=False)
    worker = app.Worker(
        pool_cls="threads",
        concurrency=1,
        queues=list(queues),
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    try:
        worker.start()
    finally:
        announcer.stop()
    return int(worker.exitcode or 0)


def _redis(url: str) -> Redis:
    return Redis.from_url(
        url,
        socket_timeout=10.0,
        socket_connect_timeout=5.0,
        socket_keepalive=True,
        retry=Retry(ExponentialBackoff(cap=2.0, base=0.1), REDIS_TRIES),
        retry_on_error=[RedisConnectionError],
    )
