"""The watchdog on real processes that hang in the three ways there are: asleep, busy in Python, busy in native code."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workers.runtime.watchdog import STUCK_EXIT_CODE, Watchdog

PROGRAM = """
import ctypes, sys, time
from workers.runtime.watchdog import Watchdog

def asleep(): time.sleep(60)
def busy():
    until = time.monotonic() + 60
    while time.monotonic() < until: pass
def native(): ctypes.PyDLL(None).sleep(60)  # PyDLL, unlike CDLL, keeps the interpreter lock during the call

watchdog = Watchdog(grace_s=0.2, last_word_s=1.5)
with watchdog.guard(time.monotonic() + 0.3, lambda: print("callers told", flush=True)):
    {"asleep": asleep, "busy": busy, "native": native}[sys.argv[1]]()
print("went on", flush=True)
"""


def ended(how: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=50, cwd=root, check=False
    )


@pytest.mark.parametrize("how", ["asleep", "busy"])
def test_an_inference_that_hangs_tells_its_callers_and_ends_the_process(how: str) -> None:
    process = ended(how)
    assert (process.returncode, process.stdout) == (STUCK_EXIT_CODE, "callers told\n")
    assert f"in {how}" in process.stderr  # where it hung


def test_native_code_that_keeps_the_interpreter_lock_is_ended_without_a_word() -> None:
    process = ended("native")
    assert (process.returncode, process.stdout) == (1, "")
    assert "Timeout" in process.stderr
    assert "in native" in process.stderr


def test_what_ends_in_time_is_left_alone() -> None:
    told: list[str] = []
    watchdog = Watchdog(end=lambda: told.append("ended"), grace_s=0.0)
    for _ in range(3):
        with watchdog.guard(time.monotonic() + 0.2, lambda: told.append("stuck")):
            pass
    with watchdog.guard(float("inf"), lambda: told.append("stuck")):
        time.sleep(0.7)
    assert told == []


IDLE_PROGRAM = """
import time
from workers.runtime.watchdog import Watchdog

def brief(): pass

watchdog = Watchdog(grace_s=0.2, last_word_s=0.3)
for _ in range(2):  # the second comes and goes between two looks of a watchdog that has long been idle
    with watchdog.guard(time.monotonic() + 0.5, lambda: None):
        brief()
    time.sleep(2.5)
print("went on", flush=True)
"""


def test_a_process_lives_on_when_nothing_follows_a_brief_inference() -> None:
    root = Path(__file__).parents[2]
    process = subprocess.run(
        [sys.executable, "-c", IDLE_PROGRAM], capture_output=True, text=True, timeout=50, cwd=root, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "went on\n", "")


def test_an_error_inside_passes_through_and_ends_the_guard() -> None:
    told: list[str] = []
    watchdog = Watchdog(end=lambda: told.append("ended"), grace_s=0.0)
    with pytest.raises(RecursionError, match="too deep"), watchdog.guard(time.monotonic() + 0.2, told.clear):
        raise RecursionError("too deep")
    time.sleep(0.7)
    assert told == []


def test_callers_that_cannot_be_told_do_not_keep_the_process() -> None:
    gone = threading.Event()
    watchdog = Watchdog(end=gone.set, grace_s=0.0, last_word_s=60.0)

    def unreachable() -> None:
        raise ConnectionError("no Redis")

    with watchdog.guard(time.monotonic() + 0.1, unreachable):
        assert gone.wait(10)
