"""The gateways that are compared, each started for the length of a `with` and asked for the same answer."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
import psycopg
from rich.console import Console

from orchestrator.cli.progress import Progress
from orchestrator.house import House, UpOptions, running_house

ROOT = Path(__file__).resolve().parents[2]
LITELLM = "litellm[proxy]==1.106.*"
"""The version whose figures the README quotes; in an environment of its own, since it pins much."""
PROMPT = "What is the capital of France? Answer in one sentence."
MAX_TOKENS = 64
WHOLE = '"This is a synthetic answer'
"""What an answer must hold to count: the upstream's own words, so that an error page never does."""


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Where it answers, what to send, and which processes are its own."""

    name: str
    port: int
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    pids: Callable[[], list[int]]
    whole_stream: str
    """What only a complete stream holds."""
    more_pids: Callable[[], list[int]] = field(default=list)
    """Servers that work for it (the database)."""

    def job(self, callers: int, duration_s: float, stream: bool) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "path": self.path,
            "body": json.dumps({**self.body, "stream": stream}),
            "headers": dict(self.headers),
            "callers": callers,
            "duration_s": duration_s,
            "must_contain": self.whole_stream if stream else WHOLE.strip('"'),
            "first_token": "This is a" if stream else None,
        }


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The wire server every gateway has behind it."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, **behaviour: Any) -> None:
        ask(f"{self.url}/_control/default", {**behaviour, "times": None})

    def called(self) -> int:
        """How many requests it was sent. Raises RuntimeError if it did anything but answer them."""
        counts = ask(f"{self.url}/_control/counts", None)["total"]
        if counts["failed"] or counts["cut"] or counts["refused"]:
            raise RuntimeError(f"the upstream did not only answer: {counts}")
        return int(counts["requests"])


def ask(url: str, body: Any, headers: Mapping[str, str] = {}, timeout_s: float = 30) -> Any:
    """One JSON request outside the measurement; GET without a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - http, made above
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def upstream() -> Iterator[Upstream]:
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.adapters.wire", "--port", str(port)]
    with running(command, subprocess.DEVNULL) as process:
        found = Upstream(port=port, pid=process.pid)
        until_it_answers(lambda: ask(f"{found.url}/_control/counts", None), process, 20, None)
        yield found


def direct(server: Upstream) -> Gateway:
    """The upstream itself: what is left when there is no gateway."""
    return Gateway(
        name="direct",
        port=server.port,
        path="/v1/chat/completions",
        body=_chat_body(),
        headers={"authorization": "Bearer bench"},
        pids=lambda: [server.pid],
        whole_stream="[DONE]",
    )


def _chat_body() -> dict[str, Any]:
    return {"model": "gpt-4o", "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": PROMPT}]}


@contextmanager
def pennyroute(
    server: Upstream, folder: Path, api_processes: int, fleets: Sequence[tuple[str, tuple[str, ...]]] = ()
) -> Iterator[tuple[Gateway, House]]:
    """The house as `pennyroute up` starts it, without workers: routing, ledger, log and key check are on."""
    env = {
        "PYTHONPATH": str(ROOT),
        "ANTHROPIC_API_KEY": "bench",
        "ANTHROPIC_BASE_URL": server.url,
        "OPENAI_API_KEY": "bench",
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "DEEPSEEK_API_KEY": "bench",
        "DEEPSEEK_BASE_URL": f"{server.url}/v1",
    }
    options = UpOptions(
        data_dir=folder / "data", port=0, api_processes=api_processes, fleets=fleets, beat=False, env=env
    )
    with running_house(options, Progress(Console(quiet=True))) as house:
        key = house.key_file.read_text().strip()
        api = processes.matching(processes.descendants(own_pid()), "orchestrator.http.serve")
        gateway = Gateway(
            name="pennyroute",
            port=int(house.address.rpartition(":")[2]),
            path="/route",
            body={"input": PROMPT, "options": {"max_tokens": MAX_TOKENS}},
            headers={"authorization": f"Bearer {key}"},
            pids=lambda: api,
            whole_stream=f'"output":{WHOLE}',
            more_pids=_database_pids,
        )
        yield gateway, house


def own_pid() -> int:
    return int(Path("/proc/self").resolve().name)


def _database_pids() -> list[int]:
    return processes.matching(processes.descendants(own_pid()), "postgres")


def logged(house: House) -> int:
    """Rows of the log that ended settled: each is one paid call whose cost is known."""
    with psycopg.connect(house.database_url) as connection:
        row = connection.execute("select count(*) from model_inferences where ending = 'settled'").fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def litellm(server: Upstream, folder: Path, say: Callable[[str], None]) -> Iterator[Gateway]:
    """LiteLLM's proxy with one worker and a master key, without a database: its fastest usual form."""
    program, port = _litellm_program(say), free_port()
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: gpt-4o\n"
        f"    litellm_params: {{model: openai/gpt-4o, api_base: '{server.url}/v1', api_key: bench}}\n"
        "general_settings: {master_key: sk-bench}\n"
        "litellm_settings: {telemetry: false}\n"
    )
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    log = folder / "litellm.log"
    with log.open("wb") as output, running(command, output, env) as process:
        headers = {"authorization": "Bearer sk-bench"}
        began_s = time.monotonic()
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        until_it_answers(lambda: ask(url, _chat_body(), headers), process, 180, log)
        say(f"LiteLLM's first answer after {time.monotonic() - began_s:.1f} s")
        yield Gateway(
            name="litellm",
            port=port,
            path="/v1/chat/completions",
            body=_chat_body(),
            headers=headers,
            pids=lambda: processes.descendants(process.pid),
            whole_stream="[DONE]",
        )


def _litellm_program(say: Callable[[str], None]) -> Path:
    """LiteLLM in `.venv-bench`, installed at the first run."""
    home = ROOT / ".venv-bench"
    program = home / "bin" / "litellm"
    if not program.exists():
        say(f"installing {LITELLM} into {home.name} (once, a minute or two)")
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "-q", LITELLM], check=True, stderr=subprocess.DEVNULL)
    return program


def litellm_version() -> str:
    ask_version = "import importlib.metadata as m; print(m.version('litellm'))"
    command = [str(ROOT / ".venv-bench" / "bin" / "python"), "-c", ask_version]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def running(
    command: list[str], output: Any, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_it_answers(
    attempt: Callable[[], Any], process: subprocess.Popen[bytes], limit_s: float, log: Path | None
) -> None:
    ends_s = time.monotonic() + limit_s
    while True:
        try:
            attempt()
            return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > ends_s:
                tail = log.read_text("utf-8", "replace")[-2000:] if log else ""
                raise RuntimeError(f"{process.args!r} does not answer: {error}\n{tail}") from error
            time.sleep(0.2)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pennyroute-bench-")
