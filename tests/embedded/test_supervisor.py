"""The supervisor on small real programs: order, restarts, giving up, stopping, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.adapters.embedded.errors import StartFailed
from orchestrator.adapters.embedded.guard import living
from orchestrator.adapters.embedded.logs import turn_over
from orchestrator.adapters.embedded.process import ProcessSpec
from orchestrator.adapters.embedded.restart import RestartPolicy
from orchestrator.adapters.embedded.supervisor import Event, EventKind, Supervisor

QUICK = RestartPolicy(first_delay_s=0.01, longest_delay_s=0.05, start_failures=3)
SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); " + SLEEP
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
child.wait()
"""
TALKER = """
import pathlib, sys, time
print("x" * 50, flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("later", flush=True)
time.sleep(600)
"""


def python(name: str, code: str, *, ready: Callable[[int], bool] | None = None, **more: float) -> ProcessSpec:
    return ProcessSpec(name=name, command=(sys.executable, "-c", code), ready=ready, **more)  # type: ignore[arg-type]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come; a hang is the test runner's to end."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s in vain"
        time.sleep(0.01)


def text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, events: list[Event]) -> Supervisor:
    return Supervisor(logs=tmp_path, run=tmp_path, on_event=events.append, policy=QUICK)


def test_programs_start_in_order_and_stop_in_reverse(supervisor: Supervisor, events: list[Event]) -> None:
    with supervisor:
        supervisor.start(python("first", SLEEP))
        supervisor.begin(python("second", SLEEP))
        supervisor.start()
    told = [(event.kind.value, event.name) for event in events]
    assert told == [
        ("started", "first"),
        ("ready", "first"),
        ("started", "second"),
        ("ready", "second"),
        ("stopping", "second"),
        ("stopped", "second"),
        ("stopping", "first"),
        ("stopped", "first"),
    ]


def test_start_returns_when_the_program_says_it_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "ready"
    code = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    with supervisor:
        supervisor.start(python("slow", code, ready=lambda pid: mark.exists()))
        assert mark.exists()


def test_a_program_that_dies_is_restarted_and_the_state_file_says_so(
    supervisor: Supervisor, events: list[Event], tmp_path: Path
) -> None:
    with supervisor:
        supervisor.start(python("worker", SLEEP))
        first = supervisor.pid("worker")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pid("worker") not in (None, first))
        until(lambda: state(tmp_path)["worker"]["pid"] == supervisor.pid("worker"))
        assert state(tmp_path)["worker"]["restarts"] == 1
    assert [event.detail for event in events if event.kind is EventKind.EXITED] == ["signal SIGKILL"]
    assert not (tmp_path / "processes.json").exists()


def state(folder: Path) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads((folder / "processes.json").read_text())["processes"]
    return found


def test_a_program_that_keeps_dying_at_the_start_is_given_up_with_its_last_words(
    supervisor: Supervisor,
) -> None:
    broken = python("broken", "import sys; print('no licence found'); sys.exit(3)", ready=lambda pid: False)
    with supervisor, pytest.raises(StartFailed) as caught:
        supervisor.start(broken)
    assert "broken could not be started (3 times, last: exit status 3)" in str(caught.value)
    assert "no licence found" in str(caught.value)


def test_a_program_that_is_never_ready_is_given_up(supervisor: Supervisor) -> None:
    with (
        supervisor,
        pytest.raises(StartFailed, match=r"mute could not be started \(was not ready within 0\.1 s\)"),
    ):
        supervisor.start(python("mute", SLEEP, ready=lambda pid: False, ready_timeout_s=0.1))


def test_a_program_that_does_not_exist_is_given_up_with_its_name(supervisor: Supervisor) -> None:
    ghost = ProcessSpec(name="ghost", command=("/no/such/program",), ready=lambda pid: False)
    with supervisor, pytest.raises(StartFailed, match="/no/such/program cannot be started: No such file"):
        supervisor.start(ghost)


def test_a_program_that_ignores_its_stop_signal_is_killed_after_its_time(
    supervisor: Supervisor, events: list[Event], tmp_path: Path
) -> None:
    log = tmp_path / "stubborn.log"
    with supervisor:
        supervisor.start(python("stubborn", STUBBORN, ready=lambda pid: "up" in text(log), stop_timeout_s=0.1))
    assert [event.kind.value for event in events][-3:] == ["stopping", "killed", "stopped"]
    assert events[-1].detail == "signal SIGKILL"


def test_grandchildren_end_with_a_program_that_was_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    with supervisor:
        supervisor.start(python("parent", PARENT, ready=lambda pid: text(log).endswith("\n")))
        first, grandchild = supervisor.pid("parent"), int(text(log))
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: supervisor.pid("parent") not in (None, first))
        assert not is_running(grandchild)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


SUPERVISE = """
import sys
from pathlib import Path
from orchestrator.adapters.embedded.process import ProcessSpec
from orchestrator.adapters.embedded.supervisor import Supervisor
folder, code = Path(sys.argv[1]), sys.argv[2]
log = folder / "parent.log"
spec = ProcessSpec(name="parent", command=(sys.executable, "-c", code),
                   ready=lambda pid: log.exists() and log.read_text().endswith("\\n"))
with Supervisor(logs=folder, run=folder) as supervisor:
    supervisor.start(spec)
    print(supervisor.pid("parent"), flush=True)
    sys.stdin.read()
"""


def test_kill_9_of_the_supervisor_ends_its_programs_and_their_children(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, str(tmp_path), PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        assert holder.stdout is not None
        group = int(holder.stdout.readline())
        grandchild = int(text(tmp_path / "parent.log"))
        assert is_running(grandchild)
        holder.kill()
    until(lambda: not living({group}))
    assert not is_running(grandchild)


def test_programs_do_not_get_the_terminals_ctrl_c(supervisor: Supervisor) -> None:
    with supervisor:
        supervisor.start(python("own-session", SLEEP))
        pid = supervisor.pid("own-session")
        assert pid is not None
        assert os.getsid(pid) == pid


def test_a_start_that_is_cut_short_by_stop_says_so(supervisor: Supervisor) -> None:
    with supervisor:
        threading.Timer(0.1, supervisor.stop).start()
        with pytest.raises(StartFailed, match="was not started: everything is being stopped"):
            supervisor.start(python("endless", SLEEP, ready=lambda pid: False))


def test_restart_delays_double_up_to_the_longest_and_are_spread() -> None:
    policy = RestartPolicy(first_delay_s=0.2, longest_delay_s=30.0)
    assert [policy.delay_s(failures, 0.5) for failures in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, 1.6]
    assert policy.delay_s(1_000, 0.5) == 30.0
    assert (policy.delay_s(1_000, 0.0), policy.delay_s(1, 0.0)) == (15.0, 0.1)


def test_a_log_past_its_size_is_turned_over_under_the_running_program(supervisor: Supervisor, tmp_path: Path) -> None:
    go, log = tmp_path / "go", tmp_path / "talker.log"
    with supervisor:
        supervisor.start(
            ProcessSpec(
                name="talker",
                command=(sys.executable, "-c", TALKER, str(go)),
                ready=lambda pid: text(log).endswith("\n"),
            )
        )
        assert not turn_over(log, max_bytes=51)
        assert turn_over(log, max_bytes=50)
        go.touch()
        until(lambda: text(log) == "later\n")
    assert text(tmp_path / "talker.log.1") == "x" * 50 + "\n"
