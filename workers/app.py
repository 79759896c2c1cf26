"""The Celery app as data: which queues there are, which fleets serve them, under which settings.

Nothing happens at import time and no environment is read here: `create_app` gets its settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from celery import Celery

from workers.modality import Room
from workers.schedule import BEAT

INFER_TASK = "pennyroute.infer"
_REQUEST = "workers.queue.acknowledge:StrictRequest"  # by name: Celery's worker part is loaded by workers alone

ROOMS: Mapping[str, Room] = MappingProxyType(
    {
        "embeddings": Room(module="workers.embeddings"),
        "rerank": Room(module="workers.rerank"),
        "sentiment": Room(module="workers.sentiment"),
        "toxicity": Room(module="workers.toxicity"),
        "classify": Room(module="workers.classify"),
        "ocr": Room(module="workers.ocr"),
        "document": Room(module="workers.document"),
        "vision": Room(module="workers.vision"),
        "audio": Room(module="workers.audio"),
        "llm": Room(module="workers.llm"),
    }
)
"""Queue → what serves it. A queue of the registry that is not here has no worker yet, and says so."""

FLEETS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("embeddings", ("embeddings", "rerank")),
    ("text", ("sentiment", "toxicity", "classify")),
    ("reading", ("ocr", "document", "vision")),
    ("audio", ("audio",)),
    ("llm", ("llm",)),
    ("upkeep", ("upkeep", "jobs")),
)
"""The worker processes `pennyroute up` starts on one machine: name and queues."""

CELERY: Mapping[str, Any] = MappingProxyType(
    {
        "task_ignore_result": True,  # answers travel over a list that the API waits on
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": True,  # a killed worker's message is delivered again
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,  # a message waits in the queue, where any worker can take it
        "worker_soft_shutdown_timeout": 5.0,  # with REMAP_SIGTERM=SIGQUIT: what runs may finish
        "worker_enable_remote_control": False,  # announcements say who lives; saves a subscription per worker
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "timezone": "UTC",
        "enable_utc": True,
        "task_default_queue": "jobs",
        "task_create_missing_queues": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_routes": {"pennyroute.upkeep.*": {"queue": "upkeep"}, "pennyroute.jobs.*": {"queue": "jobs"}},
        "beat_schedule": BEAT,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """What a worker process is told by its entry. `threads` are per inference; `memory_bytes` are for the whole
    process; models unused for `idle_s` are unloaded; those in `prewarm` are loaded before they are asked for."""

    redis_url: str
    data_dir: Path
    threads: int = 1
    visibility_timeout_s: int = 60  # until the message of a killed worker is delivered again
    max_models: int = 4
    memory_bytes: int = 3 * 2**30
    idle_s: float = 900.0
    device: str = "auto"
    prewarm: tuple[str, ...] = ()
    download_weights: bool = False
    allow_pickle: bool = False

    @property
    def models_dir(self) -> Path:
        return self.data_dir / "models"


def create_app(settings: WorkerSettings, tasks: Mapping[str, Callable[..., None]]) -> Celery:
    """A Celery app of its own (never the current one) that runs these tasks: name → function.

    `pennyroute.infer` gets its task as first argument, for the delivery tag.
    """
    app = Celery("pennyroute", broker=settings.redis_url, set_as_current=False)
    app.conf.update(CELERY, broker_transport_options=_transport(settings))
    for name, function in tasks.items():
        app.task(function, name=name, bind=name == INFER_TASK, shared=False, Request=_REQUEST)
    return app


def _transport(settings: WorkerSettings) -> dict[str, int]:
    """kombu looks for lost messages every 100 s unless told otherwise."""
    return {
        "visibility_timeout": settings.visibility_timeout_s,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
    }
