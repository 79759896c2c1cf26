"""The whole house on free ports for end-to-end tests, with the wire server as every provider; asserts nothing."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
from psycopg.rows import dict_row
from rich.console import Console

from orchestrator.adapters.embedded.supervisor import Supervisor
from orchestrator.cli.progress import Progress
from orchestrator.house import UpOptions, running_house
from tests.database.server import family

# What the wire server lists as an open server of our own: the local tier.
LOCAL_MODEL = "wire-local"
PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Wire:
    """The provider in its own process: it can be scripted, and counts what it is asked."""

    url: str

    def control(self, verb: str, body: object = None) -> Any:
        method = "GET" if body is None else "POST"
        answer = httpx.request(method, f"{self.url}/_control/{verb}", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def script(self, *behaviours: Mapping[str, Any]) -> None:
        self.control("script", {"behaviours": list(behaviours)})

    def always(self, **behaviour: Any) -> None:
        self.control("default", {"times": None, **behaviour})

    def counts(self) -> dict[str, dict[str, int]]:
        """Model → requests, answered, refused, failed, cut, left."""
        models: dict[str, dict[str, int]] = self.control("counts")["models"]
        return models

    def worked(self) -> int:
        """Paid requests that may have been billed: all but those refused before any work."""
        return sum(
            counts["requests"] - counts["refused"] for model, counts in self.counts().items() if model != LOCAL_MODEL
        )


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A running house and how to ask it."""

    address: str
    key: str
    data_dir: Path
    database_url: str
    supervisor: Supervisor
    wire: Wire

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = httpx.request(method, self.address + path, json=body, headers=self.headers, timeout=PATIENCE_S)
        return answer.status_code, answer.json()

    def route(self, **body: Any) -> Any:
        status, answer = self.call("POST", "/route", body)
        assert status == 200, answer
        return answer

    def rows(self, query: LiteralString, *parameters: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(query, parameters).fetchall()

    def value(self, query: LiteralString, *parameters: Any) -> Any:
        (row,) = self.rows(query, *parameters)
        return next(iter(row.values()))

    def set_budget(self, limit_nanousd: int) -> None:
        status, answer = self.call("PUT", "/budgets/global", {"limit_usd": f"{limit_nanousd / 10**9:.9f}"})
        assert (status, answer["limit_nanousd"]) == (200, limit_nanousd), answer

    def used_nanousd(self) -> int:
        (budget,) = self.rows(
            "select spent_nanousd + reserved_nanousd as used from budget_states where name = 'global'"
        )
        return int(budget["used"])

    def kill(self, program: str) -> int:
        """kill -9 of a supervised program and all its children; returns its process id."""
        pid = self.supervisor.pid(program)
        assert pid is not None, f"{program} is down"
        for member in family(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        return pid

    def wait_back(self, program: str, old_pid: int) -> None:
        """Until the supervisor runs it again and the house is ready."""
        until(lambda: self.supervisor.pid(program) not in (None, old_pid), f"{program} was not restarted")
        until(self.is_ready, "the house did not become ready again")

    def is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.address}/health/ready", timeout=10)
        except httpx.HTTPError:
            return False
        checks = answer.json().get("checks", {})
        return answer.status_code == 200 and all(check["ok"] for check in checks.values())


def until(condition: Any, complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


@contextlib.contextmanager
def running_wire() -> Iterator[Wire]:
    command = [sys.executable, "-m", "orchestrator.adapters.wire", "--models", LOCAL_MODEL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            yield Wire(url=next(word for word in said.split() if word.startswith("http://")))
        finally:
            process.terminate()


@contextlib.contextmanager
def standing_house(
    data_dir: Path, *, api_processes: int = 2, settings: Mapping[str, str] | None = None
) -> Iterator[Standing]:
    """Everything `pennyroute up` starts, with all real parts; only the providers are the wire server."""
    with running_wire() as wire:
        env = {
            "ANTHROPIC_API_KEY": "sk-wire",
            "ANTHROPIC_BASE_URL": wire.url,
            "OPENAI_API_KEY": "sk-wire",
            "OPENAI_BASE_URL": f"{wire.url}/v1",
            "DEEPSEEK_API_KEY": "sk-wire",
            "DEEPSEEK_BASE_URL": f"{wire.url}/v1",
            "PENNYROUTE_OPEN_SERVERS": f"wire={wire.url}/v1",
            "PENNYROUTE_PROVIDER_TRANSPORT": "sdk",
            "PENNYROUTE_LOCAL_TIMEOUT_S": "10",
            "PENNYROUTE_CALL_TIMEOUT_S": "10",
            **(settings or {}),
        }
        options = UpOptions(data_dir=data_dir, port=0, api_processes=api_processes, env=env)
        with running_house(options, Progress(Console(file=io.StringIO()))) as house:
            standing = Standing(
                address=house.address,
                key=house.key_file.read_text().strip(),
                data_dir=data_dir,
                database_url=house.database_url,
                supervisor=house.supervisor,
                wire=wire,
            )
            until(standing.is_ready, "the house did not become ready")
            yield standing
