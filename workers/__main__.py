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
        memory_bytes=asked.memory_mib << 20,
    )
    return beat(settings) if asked.beat else work(settings, asked.queues.split(","))


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
    parser.add_argument("--threads", type=int, default=1, help="threads per inference (default: %(default)s)")
    parser.add_argument(
        "--visibility-timeout-s",
        type=int,
        default=60,
        help="seconds until the message of a killed worker is delivered again (default: %(default)s)",
    )
    parser.add_argument("--max-models", type=int, default=4, help="models kept loaded (default: %(default)s)")
    parser.add_argument(
        "--memory-mib", type=int, default=3072, help="memory for loaded models (default: %(default)s MiB)"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
