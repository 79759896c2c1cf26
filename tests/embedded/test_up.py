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

from orchestrator.cli.programs import FLEETS
from orchestrator.cli.progress import three_requests
from tests.embedded.test_servers import running_on
from workers import announce
from workers import app as workers_app

UP = """
import sys
from pathlib import Path
from orchestrator.cli.up import UpOptions, run_up
fleets = (("text", ("sentiment", "toxicity")),)
run_up(UpOptions(data_dir=Path(sys.argv[1]), port=int(sys.argv[2]), api_processes=int(sys.argv[3]),
                 fleets=fleets, app="tests.embedded.small_app:create_app"))
"""


class Up:
    """A running `up` in its own process; what it printed is in `lines`."""

    def __init__(self, data_dir: Path, *, port: int = 0, api_processes: int = 1) -> None:
        self.data_dir = data_dir
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", UP, str(data_dir), str(port), str(api_processes)],
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
    key, embed, sentiment, generate = three_requests("http://127.0.0.1:8080", Path("/data/secrets/admin-key"))
    assert key == "KEY=$(cat '/data/secrets/admin-key')"
    assert embed == (
        'curl -s http://127.0.0.1:8080/route -H "Authorization: Bearer $KEY"'
        " -H 'Content-Type: application/json' -d"
        ' \'{"task": "embed", "input": ["A penny saved is a penny earned."]}\''
    )
    assert '"task": "sentiment"' in sentiment
    assert '"task": "generate"' in generate


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
