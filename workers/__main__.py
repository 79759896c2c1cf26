"""`python -m workers`: one worker process, or the clock (`--beat`). The only reader of the environment here.

The pool is one thread: the main thread stays free for the broker and for signals (a soft shutdown
waits for the running inference), and there is one model memory and one inference per process.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is told to stop; returns the exit code."""
    # Read by Celery when it is imported: SIGTERM lets the running inference finish.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    from workers.app import WorkerSettings  # noqa: PLC0415 - see above
    from workers.process import beat, work  # noqa: PLC0415

    asked = _parser().parse_args(arguments)
    if not asked.redis_url:
        print("no Redis to take work from: set REDIS_URL or give --redis-url", file=sys.stderr)
        return 2
    logging.basicConfig(level=asked.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("celery.worker.strategy", "celery.app.trace"):  # two lines per batch, drowning the rest
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = WorkerSettings(
        redis_url=asked.redis_url,
        data_dir=asked.data_dir,
        threads=asked.threads,
        visibility_timeout_s=asked.visibility_timeout_s,
        max_models=asked.max_models,
        memory_bytes=_memory_bytes(asked.memory_mib, asked.memory_share),
        idle_s=asked.idle_s,
        device=asked.device,
        prewarm=_names(asked.prewarm),
        download_weights=asked.download_weights,
        allow_pickle=asked.allow_pickle,
    )
    return beat(settings) if asked.beat else work(settings, _names(asked.queues))


def _memory_bytes(asked_mib: int | None, share: float) -> int:
    """None is `auto`."""
    from workers.runtime.memory import limit_bytes  # noqa: PLC0415 - as above

    return asked_mib << 20 if asked_mib is not None else int(limit_bytes() * share)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in (each.strip() for each in text.split(",")) if name)


def _mib(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is neither `auto` nor a number of MiB above 0")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1, such as 0.25")
    return share


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers", description="Runs models for Pennyroute.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--queues", help="queues to serve, separated by commas: embeddings,rerank")
    what.add_argument("--beat", action="store_true", help="be the clock of the scheduled tasks instead")
    parser.add_argument(
        "--redis-url",
        default=os.environ.get("REDIS_URL", ""),
        help="default: REDIS_URL (an argument is visible to others on this machine, the environment is not)",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(os.environ.get("PENNYROUTE_DATA_DIR") or "~/.local/share/pennyroute").expanduser(),
        help="where models/ lies (default: PENNYROUTE_DATA_DIR, else %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=os.environ.get("PENNYROUTE_WORKER_THREADS") or 1,
        help="threads per inference (default: PENNYROUTE_WORKER_THREADS, else 1)",
    )
    parser.add_argument(
        "--visibility-timeout-s",
        type=int,
        default=60,
        help="seconds until the message of a killed worker is delivered again (default: %(default)s)",
    )
    parser.add_argument("--max-models", type=int, default=4, help="models kept loaded (default: %(default)s)")
    parser.add_argument(
        "--memory-mib",
        type=_mib,
        default="auto",
        metavar="auto|N",
        help="memory of this process, models and libraries (default: a share of what the cgroup or machine has)",
    )
    parser.add_argument(
        "--memory-share",
        type=_share,
        default=os.environ.get("PENNYROUTE_WORKER_MEMORY_SHARE") or 0.75,
        help="what `auto` takes; workers of one machine share it (default: PENNYROUTE_WORKER_MEMORY_SHARE, else 0.75)",
    )
    parser.add_argument(
        "--idle-s",
        type=float,
        default=os.environ.get("PENNYROUTE_WORKER_IDLE_S") or 900.0,
        help="a model unused for so long is unloaded (default: PENNYROUTE_WORKER_IDLE_S, else 900 s)",
    )
    parser.add_argument("--prewarm", default="", metavar="a,b", help="models to load at the start, not when asked for")
    parser.add_argument(
        "--device",
        default="auto",
        choices=["auto", "cpu", "cuda"],
        help="auto: the GPU where its driver answers; what fails there runs on the CPU (default: %(default)s)",
    )
    parser.add_argument(
        "--download-weights",
        action="store_true",
        default=os.environ.get("PENNYROUTE_DOWNLOAD_WEIGHTS", "").lower() in ("1", "true", "yes"),
        help="download missing weights when a model is first asked for (default: PENNYROUTE_DOWNLOAD_WEIGHTS)",
    )
    parser.add_argument(
        "--allow-pickle", action="store_true", help="accept weights that can run code when they are read"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
