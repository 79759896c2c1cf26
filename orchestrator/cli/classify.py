"""`pennyroute classify`: sorts files by labels through the running API; a cut run goes on where it stood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.classify_files import Journal, Result, Skipped, Source, files_of, read
from orchestrator.cli.screen import AsJson, note, progress_bar, screen, show_json, table
from orchestrator.cli.server import DataDir, Key, Url, connect
from orchestrator.core.errors import InvalidInput
from pennyroute import Pennyroute, PennyrouteError

_AT_ONCE = 8


def classify_command(
    inputs: Annotated[list[Path], typer.Option("--input", "-i", help="A file or a folder; may be repeated.")],
    labels: Annotated[str, typer.Option("--labels", "-l", help="The labels, separated by commas.", metavar="A,B,…")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the results go.")] = Path("results.json"),
    model: Annotated[str, typer.Option(help="The model that judges; auto takes the best that is there.")] = "auto",
    multi_label: Annotated[bool, typer.Option("--multi-label", help="Judge each label alone.")] = False,
    characters: Annotated[int, typer.Option(min=50, max=100_000, help="Read so many characters of a file.")] = 2_000,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what an earlier run has done.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Classify files by labels you choose, without training, with a model of this machine or a named one.

    Three ways behind one command, chosen by `--model`: entailment (mdeberta-mnli-xnli), similarity of embeddings
    (minilm-l6-builtin), or any language model that is told how. Interrupted, the same command goes on. Exits 1 when a
    file could not be classified.

    **Examples**

    ```text
    pennyroute classify -i docs -i notes.txt -l "billing,bug report,praise" -o results.json
    pennyroute classify -i src -l code,test,configuration --model minilm-l6-builtin
    ```
    """
    chosen = _labels(labels)
    asked = {"labels": chosen, "model": model, "multi_label": multi_label, "characters": characters}
    journal = Journal(output, asked)
    if restart:
        journal.forget()
    journal.resume()
    sources, skipped = _sources(inputs, characters)
    with connect(url, key, data_dir) as client:
        found = _classified(client, sources, journal, model=model, labels=chosen, multi_label=multi_label)
    journal.finish(found, skipped)
    failed = sum(each.error is not None for each in found)
    if as_json:
        counts = Counter(each.label for each in found if each.label)
        show_json({"output": str(output), "counts": counts, "failed": failed, "skipped": len(skipped)})
    else:
        _show(found, skipped, output)
    if failed:
        raise typer.Exit(1)


def _labels(told: str) -> list[str]:
    labels = list(dict.fromkeys(label.strip() for label in told.split(",") if label.strip()))
    if len(labels) < 2:
        raise InvalidInput(f"{told!r} names fewer than two labels; separate them by commas.", field="labels")
    return labels


def _sources(inputs: Sequence[Path], characters: int) -> tuple[list[Source], list[Skipped]]:
    read_files = [read(file, characters) for file in files_of(inputs)]
    sources = [each for each in read_files if isinstance(each, Source)]
    if not sources:
        raise InvalidInput(f"no text file was found in {', '.join(map(str, inputs))}.", field="input")
    return sources, [each for each in read_files if isinstance(each, Skipped)]


def _classified(
    client: Pennyroute, sources: Sequence[Source], journal: Journal, *, model: str, labels: list[str], multi_label: bool
) -> list[Result]:
    """In the order of the sources; those that the journal has are not asked again."""
    waiting = [source for source in sources if (source.path, source.sha256) not in journal.done]
    with progress_bar() as bar:
        task = bar.add_task("classifying", total=len(sources), completed=len(sources) - len(waiting))
        for group in _groups(waiting):
            journal.add(_judged(client, group, model=model, labels=labels, multi_label=multi_label))
            bar.advance(task, len(group))
    return [journal.done[source.path, source.sha256] for source in sources]


def _judged(
    client: Pennyroute, group: Sequence[Source], *, model: str, labels: list[str], multi_label: bool
) -> list[Result]:
    """One call for the group. A group that is refused is asked one by one: one bad file spoils no other; a single file
    that is refused is told in the results, an API that is away ends the run."""
    try:
        answer = client.classify(
            [source.text for source in group], model=model, labels=labels, multi_label=multi_label, tags=["classify"]
        )
    except PennyrouteError as error:
        if error.status not in (422, 502):
            raise
        if len(group) == 1:
            return [Result(path=group[0].path, sha256=group[0].sha256, error=error.message)]
        alone = ([source] for source in group)
        return [
            result
            for one in alone
            for result in _judged(client, one, model=model, labels=labels, multi_label=multi_label)
        ]
    return [
        Result(
            path=source.path,
            sha256=source.sha256,
            model=answer.model,
            label=found["label"],
            score=found["score"],
            scores=found["scores"],
        )
        for source, found in zip(group, answer.output, strict=True)
    ]


def _groups(sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
    yield from (sources[start : start + _AT_ONCE] for start in range(0, len(sources), _AT_ONCE))


def _show(found: Sequence[Result], skipped: Sequence[Skipped], output: Path) -> None:
    counts = Counter(each.label for each in found if each.label is not None)
    rows = [
        (label, count, f"{sum(each.score or 0 for each in found if each.label == label) / count:.0%}")
        for label, count in counts.most_common()
    ]
    screen().print(table(("label", "files", "mean confidence"), rows, right=("files", "mean confidence")))
    failed = [each for each in found if each.error is not None]
    for each in failed[:5]:
        note(f"failed: {each.path}: {each.error}")
    note(f"{len(found) - len(failed)} classified, {len(failed)} failed, {len(skipped)} skipped; all in {output}")
