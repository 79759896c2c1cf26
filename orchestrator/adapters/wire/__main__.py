"""Runs the wire server (`python -m orchestrator.adapters.wire --port N`); it must hold no rule."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

import uvloop

from orchestrator.adapters.wire.answers import Replay
from orchestrator.adapters.wire.app import WireApp
from orchestrator.adapters.wire.behaviour import Behaviour
from orchestrator.adapters.wire.server import serve
from orchestrator.core.errors import PennyrouteError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.adapters.wire",
        description="A local server that speaks Anthropic's and OpenAI's protocols. It asks no model: "
        "answers are replayed from --replay or openly synthetic, as the header x-pennyroute-wire says.",
        epilog='Script it while it runs: POST /_control/script {"behaviours": [{"do": "error", '
        '"status": 429, "retry_after": "2"}]}; read GET /_control/counts.',
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free one and prints it")
    parser.add_argument(
        "--replay", type=Path, help='JSON lines of {"prompt", "model" or null, "text", "output_tokens"}'
    )
    parser.add_argument("--latency-ms", type=float, help="before the first byte of each answer")
    parser.add_argument("--event-ms", type=float, help="between the events of a stream")
    parser.add_argument("--full-usage", action="store_true", help="report output_tokens = max_tokens")
    parser.add_argument("--fail-share", type=float, help="share of requests that get status 500, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", default="wire-synthetic", help="names for GET /v1/models, by comma")
    parser.add_argument("--default", default="{}", help="the default behaviour as JSON; the options above go before it")
    return parser.parse_args()


def _default(arguments: argparse.Namespace) -> Behaviour:
    given = json.loads(arguments.default)
    for name in ("latency_ms", "event_ms", "fail_share"):
        if getattr(arguments, name) is not None:
            given[name] = getattr(arguments, name)
    if arguments.full_usage:
        given["usage_mode"] = "full"
    return Behaviour.read({"times": None, **given})


async def _run(arguments: argparse.Namespace) -> None:
    replay = Replay.load(arguments.replay) if arguments.replay else Replay()
    models = tuple(name for name in arguments.models.split(",") if name)
    app = WireApp(_default(arguments), replay, arguments.seed, models)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serve(app, arguments.host, arguments.port) as wire:
        what = f"{len(replay)} recorded answers, else synthetic" if len(replay) else "synthetic answers"
        sys.stdout.write(f"wire server on {wire.url} ({what})\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> int:
    arguments = _arguments()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(_run(arguments))
    except (PennyrouteError, json.JSONDecodeError) as error:
        sys.stderr.write(f"wire server: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
