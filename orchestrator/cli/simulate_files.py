"""Opens what `pennyroute simulate` is given: rows, raw answers beside them, policies. Grades nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.recorded import Outcome, Recorded, read_answers, read_rows
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.types import Complexity
from orchestrator.ports import Label

LOG = "log"
CURRENT, DEFAULT = "current", "default"
_GZIP = b"\x1f\x8b"
_MOST_LINE_BYTES = 64_000_000
_ANSWERS = ".weak_outputs.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A policy under the name it is shown by."""

    name: str
    policy: RoutingPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The rows, where they came from, and what is worth saying about how they were read."""

    name: str
    rows: Sequence[Recorded]
    notes: tuple[str, ...] = ()


def read_file(file: Path, scale: float) -> Source:
    """JSON lines, compressed or not, and the raw answers kept beside them. Raises InvalidInput."""
    with _lines(file) as lines:
        rows = list(read_rows(lines, file.name, scale=scale))
    if not rows:
        raise InvalidInput(f"{file.name} holds no row; give JSON lines, one request each.", field="data")
    beside = _beside(file)
    if beside is None:
        return Source(name=file.name, rows=rows)
    with _lines(beside) as lines:
        answers = read_answers(lines, beside.name)
    rows = [replace(row, answers={**row.answers, **answers[row.id]}) if row.id in answers else row for row in rows]
    found = sum(bool(row.answers) for row in rows)
    return Source(name=file.name, rows=rows, notes=(f"{beside.name} holds raw answers to {found:,} of the rows.",))


def read_log(database_url: str, policies: Sequence[Named], task_class: str | None) -> Source:
    """The labels of every class that the policies know, or of one."""
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    promised = [contract.task_class for named in policies for contract in named.policy.contracts]
    classes = [task_class] if task_class else list(dict.fromkeys([*map(str, Complexity), *promised]))
    labels = asyncio.run(wiring.kept_labels(database_url, classes))
    rows = [row for row in map(_of_label, labels) if row is not None]
    if not rows:
        raise InvalidInput(
            f"the database keeps no label with a text in {', '.join(classes)}; judge answers first, or name another "
            "class with --task-class.",
            field="data",
        )
    silent = len(labels) - len(rows)
    notes = (f"{silent:,} labels hold no text any more (it was deleted or never kept) and were left out.",)
    return Source(name=f"the labels of {', '.join(classes)}", rows=rows, notes=notes if silent else ())


def read_policy(given: str, database_url: str | None) -> Named:
    """`default`, `current`, a JSON file or a version of the database. Raises InvalidInput, ConfigError, NotFound."""
    if given == DEFAULT:
        return Named(name=DEFAULT, policy=RoutingPolicy())
    file = Path(given)
    if given != CURRENT and (file.suffix == ".json" or file.is_file()):
        return Named(name=file.stem, policy=RoutingPolicy.from_dict(_policy_of(file), name=file.stem))
    if database_url is None:
        raise InvalidInput(
            f"--policy {given!r} is no file, and no database is known to hold it: give `default`, a JSON file, or "
            "name a database with --database-url.",
            field="policy",
        )
    from orchestrator import wiring  # noqa: PLC0415 - as above

    policy = asyncio.run(wiring.kept_policy(database_url, None if given == CURRENT else given))
    return Named(name=CURRENT if given == CURRENT else f"{policy.name} {policy.version}", policy=policy)


def _policy_of(file: Path) -> Mapping[str, object]:
    try:
        told = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{file} cannot be read as a policy: {error}", field="policy") from error
    if not isinstance(told, dict):
        raise InvalidInput(f"{file} holds a {type(told).__name__}; a policy is a JSON object.", field="policy")
    inner = told.get("policy")
    return inner if isinstance(inner, dict) else told


def _of_label(label: Label) -> Recorded | None:
    if not label.text:
        return None
    outcomes = {name: Outcome(quality=quality) for name, quality in label.outcomes.items()}
    return Recorded(
        id=str(label.id),
        text=label.text,
        cluster=label.text,
        outcomes=outcomes,
        task_class=label.task_class,
        answers=label.answers,
    )


@contextmanager
def _lines(file: Path) -> Iterator[Iterator[bytes]]:
    """Told apart by its first bytes, not by its name."""
    try:
        with file.open("rb") as opened:
            packed = opened.peek(2)[:2] == _GZIP
            source = gzip.GzipFile(fileobj=opened) if packed else opened
            yield _bounded(source, file)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", field="data") from error


def _bounded(source: object, file: Path) -> Iterator[bytes]:
    """Lines of bearable length: one without an end would fill the memory."""
    readline = source.readline  # type: ignore[attr-defined] # both are binary files
    number = 0
    while line := readline(_MOST_LINE_BYTES + 1):
        number += 1
        if len(line) > _MOST_LINE_BYTES:
            raise InvalidInput(f"{file.name}, line {number}: over {_MOST_LINE_BYTES:,} bytes long.", field="line")
        yield line


def _beside(file: Path) -> Path | None:
    """`x.jsonl.gz` → `x.weak_outputs.jsonl.gz`, packed or not, where there is one."""
    stem = file.name.removesuffix(".gz").removesuffix(".jsonl")
    candidates = (file.with_name(f"{stem}{_ANSWERS}{end}") for end in (".gz", ""))
    return next((each for each in candidates if each.is_file() and each != file), None)
