"""One process from start to end: a Celery worker with its runtime and announcer, or beat; no rule here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery, signals
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from registry.load import Registry, load
from workers.app import INFER_TASK, ROOMS, WorkerSettings, create_app
from workers.modality import Machine, Room
from workers.queue.announce import Announcer
from workers.queue.held import Held
from workers.queue.infer import Order, answer
from workers.queue.window import ONE, PAIR, SEVERAL, Window
from workers.runtime import memory
from workers.runtime.device import chosen_device
from workers.runtime.fetching import Fetching, from_hub
from workers.runtime.running import Limits, Runtime
from workers.runtime.watchdog import Watchdog, end_process
from workers.upkeep import upkeep_tasks

log = logging.getLogger(__name__)

REDIS_TRIES = 6  # with the backoff below about 6 s: a restarted Redis is waited for, then the task comes back


def work(
    settings: WorkerSettings,
    queues: Sequence[str],
    *,
    rooms: Mapping[str, Room] = ROOMS,
    registry: Registry | None = None,
) -> int:
    """Serves the queues until a signal; returns the exit code."""
    redis, held = _redis(settings.redis_url), Held()
    device, room = chosen_device(settings.device), models_bytes(settings)
    window = Window(lambda: SEVERAL if runtime.contended() else PAIR if runtime.brief() else ONE)
    watchdog = Watchdog(end=lambda: _end(window, announcer, held, redis))
    runtime = Runtime(
        registry or load(),
        rooms,
        Machine(
            models_dir=settings.models_dir,
            threads=settings.threads,
            device=device,
            allow_pickle=settings.allow_pickle,
            memory_bytes=room,
        ),
        Limits(models=settings.max_models, memory_bytes=settings.memory_bytes, idle_s=settings.idle_s),
        watchdog=watchdog,
        fetching=Fetching(from_hub(settings.models_dir, room)) if settings.download_weights else None,
    )
    facts = {"budget_bytes": settings.memory_bytes, "device": device}
    announcer = Announcer(redis, queues, lambda: runtime.announce(queues), held, facts)
    infer = _infer_task(runtime, redis, held)
    app = create_app(settings, {INFER_TASK: infer, **upkeep_tasks()})
    app.steps["consumer"].add(window.step())
    return _serve(app, queues, lambda: _begin(runtime, announcer, settings), announcer)


def models_bytes(settings: WorkerSettings) -> int:
    """Of what this process may keep, what is left for models before any is loaded: a larger one is refused."""
    return max(0, settings.memory_bytes - memory.resident_bytes())


def beat(settings: WorkerSettings) -> int:
    """Sends the scheduled tasks until a signal; its memory of what was sent lies in the data folder."""
    app = create_app(settings, upkeep_tasks())
    run_dir = settings.data_dir / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    app.Beat(schedule=str(run_dir / "beat-schedule"), loglevel="INFO", quiet=True).run()
    return 0


def _infer_task(runtime: Runtime, redis: Redis, held: Held) -> Callable[..., None]:
    def infer(task: Any, /, **message: Any) -> None:
        with held.holding(task.request.properties["delivery_tag"]):
            answer(Order(**message), runtime, redis)

    return infer


def _begin(runtime: Runtime, announcer: Announcer, settings: WorkerSettings) -> None:
    """The worker takes messages from now on; what it is told to load ahead it loads beside them."""
    announcer.start()
    runtime.sweep_for_ever()
    if settings.prewarm:
        threading.Thread(target=runtime.prewarm, args=(settings.prewarm,), name="prewarm", daemon=True).start()


def _end(window: Window, announcer: Announcer, held: Held, redis: Redis) -> None:
    """The watchdog's last act: other messages that wait in this process go back at once, not after the timeout."""
    try:
        window.close()
        held.give_back(redis)
        announcer.stop()
    except RedisError as error:
        log.warning("held messages come back after the visibility timeout: %s", error)
    end_process()


def _serve(app: Celery, queues: Sequence[str], begin: Callable[[], None], announcer: Announcer) -> int:
    def ready(**_: Any) -> None:
        begin()

    signals.worker_ready.connect(ready, weak=False)
    worker = app.Worker(
        pool_cls="threads",
        concurrency=SEVERAL,  # threads that wait for their turn; one inference runs at a time
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
