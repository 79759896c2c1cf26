"""`up` from end to end with real servers and real workers, and a small app in the API's place."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psycopg
import typer
from typer.testing import CliRunner

from orchestrator.cli.progress import three_requests
from orchestrator.cli.up import up_command
from orchestrator.house import FLEETS
from tests.embedded.test_servers import running_on
from workers import app as workers_app
from workers.queue import announce

UP = """
import json, sys
from pathlib import Path
from rich.console import Console
from orchestrator.house import UpOptions
from orchestrator.cli.up import plain_errors, up
asked = json.loads(sys.argv[1])
with plain_errors():
    up(UpOptions(**{**asked, "data_dir": Path(asked["data_dir"])}, app="tests.embedded.small_app:create_app",
                 fleets=(("text", ("sentiment", "toxicity")),)), Console())
"""


class Up:
    """A running `up` in its own process; what it printed is in `lines`."""

    def __init__(self, data_dir: Path, **options: object) -> None:
        self.data_dir = data_dir
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, json.dumps({"port": 0, **options, "data_dir": str(data_dir)})],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((os.getcwd(), *sys.path)), "COLUMNS": "200"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip() for line in iter(self.process.stdout.readline, ""))

    def address(self) -> str:
        return next(word for word in self.said("Pennyroute answers at").split() if word.startswith("http"))

    def said(self, words: str) -> str:
        """The first line with these words, waited for."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.lines:
                if words in line:
                    return line
            assert self.process.poll() is None, "\n".join(self.lines)
            time.sleep(0.02)
        raise AssertionError(f"never said {words!r}:\n" + "\n".join(self.lines))

    def pids(self) -> dict[str, int]:
        processes = json.loads((self.data_dir / "run" / "processes.json").read_text())["processes"]
        return {name: process["pid"] for name, process in processes.items()}

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """The exit status; all of its output is in `lines` then."""
        code = self.process.wait(60)
        self._reader.join()
        return code

    def __enter__(self) -> Up:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own address
        found: dict[str, object] = json.load(answer)
        return found


def test_up_starts_everything_says_where_and_ctrl_c_stops_all_of_it(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up:
        address = up.address()
        assert get(f"{address}/who")["data_dir"] == str(tmp_path / "data")
        assert sorted(up.pids()) == ["api-1", "beat", "postgres", "redis", "worker-text"]
        assert up.said("The key lies in").split()[4] == f"{tmp_path}/data/secrets/admin-key,"
        assert " applied" in up.said("migrations")
        assert up.end() == 0
    assert running_on(tmp_path) == []
    assert not (tmp_path / "data" / "run" / "processes.json").exists()


def test_an_api_killed_with_kill_9_comes_back_and_nobody_is_refused_meanwhile(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up:
        address = up.address()
        before = get(f"{address}/who")["pid"]
        os.kill(up.pids()["api-1"], signal.SIGKILL)
        up.said("api-1 exited (signal SIGKILL)")
        assert get(f"{address}/who")["pid"] not in (None, before)
        assert up.end(signal.SIGTERM) == 0
    assert running_on(tmp_path) == []


def test_with_servers_configured_none_is_started_and_theirs_are_left_running(
    tmp_path: Path, empty_postgres_url: str, redis_url: str
) -> None:
    with Up(tmp_path / "data", database_url=empty_postgres_url, redis_url=redis_url) as up:
        up.address()
        assert sorted(up.pids()) == ["api-1", "beat", "worker-text"]
        assert up.end() == 0
    assert list((tmp_path / "data" / "postgres").iterdir()) == []
    with psycopg.connect(empty_postgres_url) as connection:
        applied = connection.execute("select count(*) > 0 from supabase_migrations.schema_migrations").fetchone()
    assert applied == (True,)


def test_a_database_that_does_not_answer_is_said_so_and_all_is_stopped(tmp_path: Path) -> None:
    with Up(tmp_path / "data", database_url="postgresql://nobody@127.0.0.1:9/none") as up:
        assert up.wait() == 1
    said = "\n".join(up.lines)
    assert "The database does not answer" in said
    assert "Check DATABASE_URL, or unset it" in said
    assert running_on(tmp_path) == []


def test_ctrl_c_while_things_start_stops_what_was_started(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up:
        up.said("postgres")
        assert up.end() == 0
    assert running_on(tmp_path) == []
    assert "Pennyroute answers at" not in "\n".join(up.lines)


def test_two_api_processes_share_one_port(tmp_path: Path) -> None:
    with Up(tmp_path / "data", api_processes=2) as up:
        address = up.address()
        pids = {up.pids()["api-1"], up.pids()["api-2"]}
        assert len(pids) == 2
        assert get(f"{address}/who")["pid"] in pids
        assert up.end() == 0


def test_a_port_in_use_is_named_with_its_flag_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as thief:
        port = thief.getsockname()[1]
        with Up(tmp_path / "data", port=port) as up:
            assert up.wait() == 1
    said = "\n".join(up.lines)
    assert f"Port {port} on 127.0.0.1 is already in use" in said
    assert "another port with --port" in said
    assert not (tmp_path / "data").exists()


def test_a_second_up_on_the_same_folder_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as first:
        first.address()
        with Up(tmp_path / "data") as second:
            assert second.wait() == 1
        assert f"is in use by process {first.process.pid}" in "\n".join(second.lines)
        assert first.end() == 0


def test_the_requests_to_try_are_lines_for_a_shell() -> None:
    key, embed, sentiment, generate = three_requests("http://127.0.0.1:8080", Path("/my data/secrets/admin-key"))
    assert key == "KEY=$(cat '/my data/secrets/admin-key')"
    assert embed == (
        'curl -s http://127.0.0.1:8080/route -H "Authorization: Bearer $KEY"'
        " -H 'Content-Type: application/json' -d"
        ' \'{"task": "embed", "input": ["A penny saved is a penny earned."]}\''
    )
    assert '"task": "sentiment"' in sentiment
    assert '"task": "generate"' in generate


def test_the_command_explains_itself_without_starting_anything() -> None:
    app = typer.Typer()
    app.command("up")(up_command)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "140", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    for words in ("--data-dir", "--database-url", "Supabase too", "PENNYROUTE_PORT, else 8000", "until Ctrl-C"):
        assert words in shown.output


def test_up_and_the_workers_agree_on_fleets_and_announcements() -> None:
    assert workers_app.FLEETS == FLEETS
    assert announce.INDEX == "pennyroute:workers"


def test_kill_9_of_up_leaves_nothing_running(tmp_path: Path) -> None:
    with Up(tmp_path / "data") as up:
        up.address()
        pids = up.pids()
        up.process.kill()
        up.process.wait()
        deadline = time.monotonic() + 30
        while alive := [pid for pid in pids.values() if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < deadline, alive
            time.sleep(0.05)
        assert running_on(tmp_path / "data" / "postgres") == []
