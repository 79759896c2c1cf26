"""`pennyroute models bench`: models compared on 100 labelled files, through the running API; decides nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import typer

from orchestrator.cli.bench_figures import Figures, figures
from orchestrator.cli.models_bench_plot import write_png
from orchestrator.cli.screen import AsJson, megabytes, milliseconds, money, note, progress_bar, screen, show_json, table
from orchestrator.cli.server import DataDir, Key, Url, connect
from orchestrator.core.errors import InvalidInput
from pennyroute import Pennyroute, PennyrouteError

_PATIENCE_S = 6
FILES = Path(__file__).with_name("samples") / "files.jsonl"
LABELS: Mapping[str, str] = {
    "code": "source code of a program",
    "documentation": "documentation for readers of a program",
    "configuration": "configuration settings of a program",
    "data": "data records",
    "test": "automated tests of a program",
    "build": "build or packaging instructions",
    "other": "a letter, story, log or other text",
}
"""Label → the words a model is given for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One model on the set. `mean_ms` and `p95_ms` are per file as a caller waits; tokens and memory are as the worker
    measured them, None where nobody did; `nanousd_per_1000` is what was billed, of a paid model."""

    model: str
    tier: str
    how: str
    figures: Figures
    mean_ms: float
    p95_ms: float
    tokens_per_s: float | None
    resident_bytes: int | None
    nanousd_per_1000: int
    failed: int


def bench_command(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A model; may be repeated.")] = None,
    *,
    paid: Annotated[list[str] | None, typer.Option(help="A paid model for a column beside; it costs money.")] = None,
    characters: Annotated[int, typer.Option(min=50, help="Read so many characters of a file.")] = 1_000,
    png: Annotated[Path | None, typer.Option(help="Draw accuracy against time into this file.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Compare models on 100 labelled files: code, documentation, configuration, data, test, build, other.

    Without `--model` every local model that can classify now. The files are part of Pennyroute (own work, Python's
    standard library). Use it to choose: which is good enough, which is fast enough, what it would cost elsewhere.

    **Examples**

    ```text
    pennyroute models bench
    pennyroute models bench -m minilm-l6-builtin -m mdeberta-mnli-xnli --paid claude-haiku-4-5 --png bench.png
    ```
    """
    files = read_files()
    with connect(url, key, data_dir) as client:
        local = model or _classifiers(client)
        if not local and not paid:
            raise InvalidInput(
                "no local model can classify now; `pennyroute models doctor` says what would make one available."
            )
        found = [_run(client, each, files, characters) for each in (*local, *(paid or ()))]
    if png is not None:
        write_png(found, png)
    if as_json:
        show_json([asdict(each) for each in found])
        return
    _show(found, files)


def read_files() -> list[dict[str, str]]:
    """path, label, text, origin, licence."""
    return [json.loads(line) for line in FILES.read_text("utf-8").splitlines()]


def _classifiers(client: Pennyroute) -> list[str]:
    told = client.call("GET", "/models", task="classify")["models"]
    return [each["id"] for each in told if each["available"] and each["tier"] in ("builtin", "local")]


def _run(client: Pennyroute, model: str, files: Sequence[Mapping[str, str]], characters: int) -> Bench:
    """One file a call: what an app that classifies what comes in sees."""
    said: list[str | None] = []
    took: list[float] = []
    cost, names = 0, {words: label for label, words in LABELS.items()}
    _ask(client, model, files[0], characters)  # its weights are loaded before anything is timed
    with progress_bar() as bar:
        for file in bar.track(files, description=model):
            started = time.perf_counter()
            answer = _ask(client, model, file, characters)
            took.append((time.perf_counter() - started) * 1e3)
            said.append(None if answer is None else names[answer.output[0]["label"]])
            cost += 0 if answer is None else answer.cost_nanousd
    about = _about(client, model)
    measured: Mapping[str, Any] = about["measured"] or {}
    return Bench(
        model=about["id"],
        tier=about["tier"],
        how=_how(about),
        figures=figures([file["label"] for file in files], said, tuple(LABELS)),
        mean_ms=fmean(took),
        p95_ms=sorted(took)[int(0.95 * (len(took) - 1))],
        tokens_per_s=measured.get("tokens_per_s"),
        resident_bytes=measured.get("resident_bytes") or None,
        nanousd_per_1000=cost * 1_000 // len(files),
        failed=said.count(None),
    )


def _about(client: Pennyroute, model: str) -> Any:
    """The card, with what its worker measured: a worker tells it every three seconds."""
    about = client.call("GET", f"/models/{model}")
    for _ in range(_PATIENCE_S):
        if about["measured"] is None or about["measured"].get("resident_bytes"):
            break
        time.sleep(1)
        about = client.call("GET", f"/models/{model}")
    return about


def _ask(client: Pennyroute, model: str, file: Mapping[str, str], characters: int) -> Any:
    """None where this file was refused or failed; an API or a model that is away ends the run."""
    text = f"{file['path']}\n\n{file['text'][:characters]}"
    try:
        return client.classify([text], model=model, labels=list(LABELS.values()), tags=["bench"])
    except PennyrouteError as error:
        if error.status in (422, 502) and error.code in ("all_rungs_failed", "invalid_input"):
            return None
        raise


def _how(about: Mapping[str, Any]) -> str:
    """The way to classify, read off what else the model can."""
    if "generate" in about["tasks"]:
        return "instruction"
    return "similarity" if "embed" in about["tasks"] else "entailment"


def _show(found: Sequence[Bench], files: Sequence[Mapping[str, str]]) -> None:
    numbers = ("accuracy", "95% interval", "macro F1", "ms a file", "p95", "tokens/s", "memory", "$ per 1,000")
    screen().print(
        table(("model", "by", *numbers, "good for"), [(*_row(each), _use(each)) for each in found], right=numbers)
    )
    for each in found:
        rows = [
            (one.label, one.files, _share(one.precision), _share(one.recall), f"{one.f1:.2f}")
            for one in each.figures.classes
        ]
        columns = ("files", "precision", "recall", "F1")
        screen().print(table((each.model, *columns), rows, right=columns))
        if each.failed:
            note(f"{each.failed} files failed with {each.model}; each counts as wrong")
    note(f"{len(files)} files, one a call; blind guessing is right {max(_shares(files)):.0%} of the time at best")


def _row(each: Bench) -> tuple[object, ...]:
    low, high = each.figures.interval
    return (
        each.model,
        each.how,
        f"{each.figures.accuracy:.0%}",
        f"{low:.0%}–{high:.0%}",
        f"{each.figures.macro_f1:.2f}",
        milliseconds(each.mean_ms),
        milliseconds(each.p95_ms),
        "–" if each.tokens_per_s is None else f"{each.tokens_per_s:,.0f}",
        megabytes(each.resident_bytes),
        money(each.nanousd_per_1000),
    )


def _use(each: Bench) -> str:
    """In words, from the measured figures alone."""
    quality = "sorting without looking again" if each.figures.interval[0] >= 0.8 else "a first guess"
    if each.figures.accuracy < 0.4:
        return "not for this"
    return f"{quality}, {'while a caller waits' if each.p95_ms < 500 else 'in the background'}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _shares(files: Sequence[Mapping[str, str]]) -> list[float]:
    return [sum(file["label"] == label for file in files) / len(files) for label in LABELS]
