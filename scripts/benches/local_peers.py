"""What `local` compares, each started for the length of a `with` and asked for vectors of the same sentences."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import processes
from gateways import ROOT, ask, free_port, own_pid, running, until_it_answers
from rich.console import Console

from orchestrator.cli.progress import Progress
from orchestrator.house import House, UpOptions, running_house
from registry.load import load
from registry.weights import packaged_folder

INFINITY = "infinity-emb[server,torch,optimum]==0.0.78"
"""In an environment of its own: it wants older libraries. sentence-transformers (3.4) is measured there too."""
LOAD = Path(__file__).with_name("load.py")
DIRECT = Path(__file__).with_name("local_direct.py")
INFINITY_START = Path(__file__).with_name("local_infinity.py")
MINILM = "minilm-l6-builtin"


@dataclass(kw_only=True)
class Runner:
    """One backend. `run(texts, per_call, callers, seconds)` gives items, wall_s, cpu_s by part, p50_ms and p99_ms."""

    name: str
    start_s: float
    vectors: Callable[[list[str]], list[list[float]]]
    run: Callable[[Sequence[str], int, int, float], dict[str, Any]]
    parts: Callable[[], Mapping[str, list[int]]]
    """What it consists of → process ids."""
    serves: bool = True
    """Whether it can be asked by many callers at once."""
    bad: list[str] = field(default_factory=list)


@contextmanager
def direct(name: str, backend: str, python: Path, home: Path, threads: int) -> Iterator[Runner]:
    """A backend in a process of its own, called directly: what it can do at best. Ours keeps its graph in `home`."""
    began_s = time.monotonic()
    env = _environment(home, threads)
    folder = home if backend == "ours" else minilm_folder()
    command = [str(python), str(DIRECT), backend, str(folder), str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd=ROOT
    ) as process:
        try:
            _answer(process)
            start_s = time.monotonic() - began_s

            def tell(job: Mapping[str, Any]) -> Any:
                assert process.stdin is not None
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
                return _answer(process)

            def run(texts: Sequence[str], per_call: int, callers: int, duration_s: float) -> dict[str, Any]:
                done = tell({"texts": list(texts), "batch": per_call, "duration_s": duration_s})
                return {**done, "cpu_s": {"backend": done["cpu_s"]}, "p50_ms": None, "p99_ms": None}

            yield Runner(
                name=name,
                start_s=start_s,
                vectors=lambda texts: tell({"vectors_of": texts}),
                run=run,
                parts=lambda: {"backend": [process.pid]},
                serves=False,
            )
        finally:
            process.kill()


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with status {process.wait(10)} instead of answering")
    return json.loads(line)


def _environment(home: Path, threads: int) -> dict[str, str]:
    """The same number of threads for every library, and nobody looks at the network."""
    count = str(threads)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where it answers and how it is asked for vectors."""

    port: int
    path: str
    headers: Mapping[str, str]
    body: Callable[[list[str]], dict[str, Any]]
    vectors: Callable[[Any], list[list[float]]]
    whole: str
    """What only a good answer holds."""

    def ask(self, texts: list[str]) -> list[list[float]]:
        return self.vectors(ask(f"http://127.0.0.1:{self.port}{self.path}", self.body(texts), self.headers))

    def job(self, texts: Sequence[str], per_call: int, callers: int, duration_s: float) -> dict[str, Any]:
        groups = [[texts[(at + i) % len(texts)] for i in range(per_call)] for at in range(0, len(texts), per_call)]
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "path": self.path,
            "bodies": [json.dumps(self.body(group)) for group in groups],
            "headers": dict(self.headers),
            "callers": callers,
            "duration_s": duration_s,
            "must_contain": self.whole,
        }


def served(name: str, server: Server, parts: Callable[[], Mapping[str, list[int]]], start_s: float) -> Runner:
    bad: list[str] = []

    def run(texts: Sequence[str], per_call: int, callers: int, duration_s: float) -> dict[str, Any]:
        before = {part: processes.cpu_s(pids) for part, pids in parts().items()}
        job = json.dumps(server.job(texts, per_call, callers, duration_s))
        done = subprocess.run([sys.executable, str(LOAD)], input=job, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the load generator failed on {name}: {done.stderr[-1500:]}")
        told = json.loads(done.stdout)
        bad.extend([told["example"]] * told["bad"])
        return {
            "items": told["requests"] * per_call,
            "wall_s": told["wall_s"],
            "cpu_s": {part: processes.cpu_s(pids) - before[part] for part, pids in parts().items()},
            "p50_ms": told["p50_ms"],
            "p99_ms": told["p99_ms"],
        }

    return Runner(name=name, start_s=start_s, vectors=server.ask, run=run, parts=parts, bad=bad)


@contextmanager
def pennyroute(folder: Path) -> Iterator[tuple[Runner, House]]:
    """The house as `pennyroute up` starts it, with the worker for embeddings: routing, ledger and key check are on."""
    began_s = time.monotonic()
    options = UpOptions(
        data_dir=folder / "data",
        port=0,
        fleets=(("embeddings", ("embeddings",)),),
        beat=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    with running_house(options, Progress(Console(quiet=True))) as house:
        server = Server(
            port=int(house.address.rpartition(":")[2]),
            path="/route",
            headers={"authorization": f"Bearer {house.key_file.read_text().strip()}"},
            body=lambda texts: {"task": "embed", "input": texts},
            vectors=lambda answer: list(answer["output"]),
            whole=f'"model":"{MINILM}"',
        )
        server.ask(["The first answer is part of the start."])
        start_s = time.monotonic() - began_s
        ours = processes.descendants(own_pid())
        parts = {
            "api": processes.matching(ours, "orchestrator.http.serve"),
            "worker": processes.matching(ours, "workers --queues"),
            "database": processes.matching(ours, "postgres"),
            "redis": processes.matching(ours, "redis-server"),
        }
        yield served("pennyroute", server, lambda: parts, start_s), house


@contextmanager
def infinity(engine: str, home: Path, threads: int) -> Iterator[Runner]:
    """Infinity with its engine `torch` or `onnx`, fp32, batches of 32; without compilation, which takes minutes."""
    port, began_s = free_port(), time.monotonic()
    folder = minilm_folder() if engine == "torch" else _onnx_folder(home, threads)
    options = ["--engine", {"onnx": "optimum"}.get(engine, engine), "--device", "cpu", "--dtype", "float32"]
    options += ["--batch-size", "32", "--pooling-method", "mean", "--no-model-warmup", "--no-compile"]
    options += ["--no-bettertransformer", "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "minilm"]
    # Its ONNX engine finds the file only by a path from where it stands.
    command = [str(infinity_python()), str(INFINITY_START), "serve", str(threads), "v2", "--model-id", ".", *options]
    server = Server(
        port=port,
        path="/embeddings",
        headers={},
        body=lambda texts: {"model": "minilm", "input": texts},
        vectors=lambda answer: [each["embedding"] for each in answer["data"]],
        whole='"embedding"',
    )
    log = home / f"infinity-{engine}.log"
    with log.open("wb") as output, running(command, output, _environment(home, threads), folder) as process:
        until_it_answers(lambda: server.ask(["The first answer is part of the start."]), process, 180, log)
        start_s = time.monotonic() - began_s
        name = f"infinity-{engine}"
        yield served(name, server, lambda: {"server": processes.descendants(process.pid)}, start_s)


def _onnx_folder(home: Path, threads: int) -> Path:
    """The same weights with the ONNX file that Infinity's engine wants, exported by its own library, once."""
    kept = infinity_python().parents[1] / "minilm-onnx"
    if not (kept / "model.onnx").exists():
        shutil.copytree(minilm_folder(), kept, dirs_exist_ok=True)
        command = [str(infinity_python()), str(INFINITY_START), "export", str(kept)]
        subprocess.run(command, check=True, env=_environment(home, threads), capture_output=True)
    return kept


def infinity_python() -> Path:
    return ROOT / ".venv-bench-infinity" / "bin" / "python"


def install_infinity(say: Callable[[str], None]) -> None:
    """Infinity and sentence-transformers in `.venv-bench-infinity`, at the first run."""
    python = infinity_python()
    if not python.with_name("optimum-cli").exists():
        say(f"installing {INFINITY} into {python.parents[1].name} (once, two minutes, 1.5 GB)")
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
        constraints = str(ROOT / "deploy" / "constraints.txt")
        subprocess.run([str(python), "-m", "pip", "install", "-q", INFINITY, "-c", constraints], check=True)


def infinity_versions() -> dict[str, str]:
    names = ["infinity_emb", "sentence_transformers", "torch", "transformers"]
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    done = subprocess.run([str(infinity_python()), "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def minilm_folder() -> Path:
    """The weights that every backend reads. Raises RuntimeError when their package is not installed."""
    folder = packaged_folder(load().get(MINILM))
    if folder is None:
        raise RuntimeError("the weights are not here; run scripts/install local")
    return folder
