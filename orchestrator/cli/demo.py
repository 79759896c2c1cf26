"""`pennyroute demo`: the full stack on recorded answers, so that routing, cost and savings show without a key."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from orchestrator.cli.demo_contract import TASK_CLASS, promise
from orchestrator.cli.demo_prompts import OPEN_MODEL, OPEN_SERVER, Prompt, read_prompts, write_replay
from orchestrator.cli.demo_result import Row, Run, plain, row_of
from orchestrator.cli.demo_table import Board, explain, show_promise, show_summary
from orchestrator.cli.progress import Progress, say_where
from orchestrator.cli.screen import AsJson, screen, show_json
from orchestrator.house import PYTHON, House, ProcessSpec, Supervisor, UpOptions, pick_free, running_house
from pennyroute import Pennyroute
from pennyroute.asks import How
from registry.load import load

_NO_REAL_KEY = "replay-no-real-key"
_UNTIL_EVERY_PROCESS_KNOWS_S = 2.5  # a process reads the active policy every two seconds


def demo_command(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep its data in this folder.", show_default="a temporary one, removed")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any.")] = 0,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave everything up afterwards, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """See routing, cost, savings and a quality contract in a minute, with no key and no download, on recorded answers.

    Starts everything that `pennyroute up` starts, and in place of every provider a local server that replays
    recorded answers (synthetic ones where nothing was recorded). Routing, ledger, log and prices are the real ones;
    no request leaves this machine. The questions are asked twice: routed by prediction alone, then under a quality
    contract that was certified on recorded outcomes of other questions.

    **Examples**

    ```text
    pennyroute demo
    pennyroute demo --keep-running
    ```
    """
    console = screen() if not as_json else Console(stderr=True)
    explain(console)
    # All stop in order, and the temporary folder goes. Ctrl-C is named too: a shell starts background jobs deaf to it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with _folder(data_dir) as folder, suppress(KeyboardInterrupt), replay_house(folder, port, console) as house:
        premium = load().for_role("premium")
        runs = [Run(name="by prediction alone", rows=ask_all(house, read_prompts(), console))]
        promised = asyncio.run(promise(house.database_url, premium.id))
        time.sleep(_UNTIL_EVERY_PROCESS_KNOWS_S)
        show_promise(console, promised)
        runs.append(Run(name="under the contract", rows=ask_all(house, read_prompts(), console, TASK_CLASS)))
        if as_json:
            show_json(plain(runs, promised))
        else:
            show_summary(console, runs, promised, premium)
        if keep_running:
            say_where(console, house.address, house.key_file, 0.0)
            while True:
                house.supervisor.check()
                threading.Event().wait(1.0)


@contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    if data_dir is not None:
        yield data_dir.expanduser().absolute()
        return
    with tempfile.TemporaryDirectory(prefix="pennyroute-demo-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def replay_house(folder: Path, port: int, console: Console) -> Iterator[House]:
    """The whole house on `folder`/data with the replaying server in place of every provider; for tests too."""
    wire_port = pick_free()
    with tempfile.TemporaryDirectory(prefix="pennyroute-replay-") as name:
        replay, nothing = Path(name) / "replay.jsonl", Path(name) / "empty.toml"
        write_replay(replay, read_prompts(), load())
        nothing.touch()
        options = UpOptions(data_dir=folder / "data", port=port, env=_env(f"http://127.0.0.1:{wire_port}", nothing))
        wire = _wire(wire_port, replay)

        def begin_wire(supervisor: Supervisor) -> None:
            supervisor.begin(wire)

        with running_house(options, Progress(console), on_supervisor=begin_wire) as house:
            try:
                yield house
            finally:
                console.print("Stopping what was started …")
                console.quiet = True  # how each program stops is of no interest here


def _wire(port: int, replay: Path) -> ProcessSpec:
    command = (*PYTHON, "orchestrator.adapters.wire", "--port", str(port), "--replay", str(replay))
    return ProcessSpec(
        name="replay-provider", command=(*command, "--models", OPEN_MODEL), ready=lambda pid: _answers(port)
    )


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _env(wire: str, config_file: Path) -> dict[str, str]:
    """Every provider is the replaying server, and nothing of the caller's own settings reaches another."""
    return {
        "PENNYROUTE_CONFIG": str(config_file),
        "ANTHROPIC_API_KEY": _NO_REAL_KEY,
        "ANTHROPIC_BASE_URL": wire,
        "OPENAI_API_KEY": _NO_REAL_KEY,
        "OPENAI_BASE_URL": f"{wire}/v1",
        "DEEPSEEK_API_KEY": _NO_REAL_KEY,
        "DEEPSEEK_BASE_URL": f"{wire}/v1",
        "PENNYROUTE_OPEN_SERVERS": f"{OPEN_SERVER}={wire}/v1",
        "PENNYROUTE_LICENCES": "",
        "PENNYROUTE_DEFAULT_STRATEGY": "hybrid",
    }


def ask_all(house: House, prompts: Sequence[Prompt], console: Console, task_class: str | None = None) -> list[Row]:
    """Every prompt, one after the other; the class goes with those that were recorded for every tier."""
    premium, rows = load().for_role("premium"), list[Row]()
    key = house.key_file.read_text("utf-8").strip()
    with Pennyroute(house.address, key) as client, Board(console, len(prompts)) as board:
        for prompt in prompts:
            began_s = time.monotonic()
            of_class = task_class if prompt.graded_for_every_tier else None
            told: How = {"tags": ["demo"], **({"task_class": of_class} if of_class else {})}
            answer = client.route(prompt.text, **told)
            rows.append(row_of(prompt, answer, premium, datetime.now(UTC)))
            board.show(rows)
            # Replayed answers come at once; a reader's eye does not.
            time.sleep(max(0.0, board.pace_s - (time.monotonic() - began_s)))
    return rows
