"""The files that `pennyroute classify` reads, and the results it keeps while it works; asks nobody."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.errors import InvalidInput

SKIPPED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache"}
)
LARGEST_BYTES = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One text to classify: its path as told, its first characters, and the digest of the whole file."""

    path: str
    text: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    path: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One line of the results. `score` is the model's confidence in `label`; `error` instead where it failed."""

    path: str
    sha256: str
    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] | None = None
    model: str | None = None
    error: str | None = None


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file named, and every file below a folder named, in the order of their names; each once. Hidden files and
    folders of tools are left out below a folder. Raises InvalidInput for a path that is not there."""
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise InvalidInput(f"{path} is not there; -i takes files and folders.", field="input")
        found: Iterable[Path] = [path] if path.is_file() else _below(path)
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))


def read(file: Path, characters: int) -> Source | Skipped:
    """The file's name and its first characters: a name tells much of what a file is. Skipped: binary, empty, too
    large, unreadable."""
    try:
        if (size := file.stat().st_size) > LARGEST_BYTES:
            return Skipped(path=str(file), why=f"{size} bytes, at most {LARGEST_BYTES} are read")
        data = file.read_bytes()
    except OSError as error:
        return Skipped(path=str(file), why=f"cannot be read: {error.strerror}")
    if b"\x00" in data[:8_192]:
        return Skipped(path=str(file), why="not a text")
    text = data.decode("utf-8", "replace").strip()
    if not text:
        return Skipped(path=str(file), why="empty")
    return Source(path=str(file), text=f"{file.name}\n\n{text[:characters]}", sha256=hashlib.sha256(data).hexdigest())


class Journal:
    """What is done so far, one JSON line a file beside the output, so that a run that was cut goes on where it stood.

    `asked` is what the answers depend on (labels, model, characters): a journal of another question is refused."""

    def __init__(self, output: Path, asked: Mapping[str, Any]) -> None:
        self._output = output
        self._part = output.with_name(output.name + ".part")
        self._asked = dict(asked)
        self.done: dict[tuple[str, str], Result] = {}

    def resume(self) -> None:
        """Reads what an earlier run left. Raises InvalidInput where that run asked something else."""
        text = self._part.read_text("utf-8") if self._part.exists() else ""
        lines = text.splitlines()
        if len(lines) < 2:
            self.forget()  # nothing was judged yet: there is nothing to go on with
            return
        head = _line(lines[0]) if lines else None
        if head is None or head.get("asked") != self._asked:
            raise InvalidInput(
                f"{self._part} holds the beginning of a run with other labels or another model; finish that one, or "
                "remove the file (--restart).",
                field="output",
            )
        for line in lines[1:]:
            told = _line(line)  # the last line may be half written
            if told is not None and told.get("error") is None:
                result = Result(**told)
                self.done[result.path, result.sha256] = result
        if not text.endswith("\n"):
            self._append_text("\n")

    def forget(self) -> None:
        self._part.unlink(missing_ok=True)

    def add(self, results: Sequence[Result]) -> None:
        if not self._part.exists():
            self._append({"asked": self._asked})
        for result in results:
            self.done[result.path, result.sha256] = result
            self._append(asdict(result))

    def finish(self, found: Sequence[Result], skipped: Sequence[Skipped]) -> None:
        """The whole as one JSON file, written aside and renamed; then the journal goes."""
        counts: dict[str, int] = {}
        for result in found:
            if result.label is not None:
                counts[result.label] = counts.get(result.label, 0) + 1
        whole = {
            **self._asked,
            "counts": dict(sorted(counts.items(), key=lambda each: -each[1])),
            "files": [{name: value for name, value in asdict(each).items() if value is not None} for each in found],
            "skipped": [asdict(each) for each in skipped],
        }
        aside = self._output.with_name(self._output.name + ".new")
        aside.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", "utf-8")
        aside.replace(self._output)
        self.forget()

    def _append(self, value: Mapping[str, Any]) -> None:
        self._append_text(json.dumps(value, ensure_ascii=False) + "\n")

    def _append_text(self, text: str) -> None:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("a", encoding="utf-8") as file:
            file.write(text)


def _line(text: str) -> dict[str, Any] | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
