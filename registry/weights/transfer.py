"""Fetches the files of one plan, each going on after a cut and renamed once its hash is right; it publishes nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from registry.weights.errors import DamagedWeights, HubUnreachable
from registry.weights.folders import private_folder
from registry.weights.hashes import git_sha1, sha256
from registry.weights.hub import RemoteFile, cached, fetch
from registry.weights.manifest import FileFacts
from registry.weights.plan import Plan, require_recorded

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)  # between tries that bring nothing; one that brought bytes starts over

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """How far a download is: `file` is what is being brought, `bytes` of `total_bytes` are here."""

    file: str
    bytes: int
    total_bytes: int


Report = Callable[[Moved], None]


def silent(moved: Moved) -> None:
    """The report of who does not read along."""


def again(act: Callable[[], _T], pauses_s: Sequence[float], progress: Callable[[], int] = lambda: 0) -> _T:
    """Does it once more after each pause while the hub does not answer well; a try that got further starts over.

    Raises the last HubUnreachable.
    """
    tried = 0
    while True:
        before = progress()
        try:
            return act()
        except HubUnreachable:
            tried = 0 if progress() > before else tried + 1
            if tried > len(pauses_s):
                raise
        time.sleep(pauses_s[max(0, tried - 1)] if pauses_s else 0.0)


class Transfer:
    """One download in progress: each file is fetched to `name.part` and renamed once its hash is right."""

    def __init__(self, plan: Plan, folder: Path, report: Report, pauses_s: Sequence[float]) -> None:
        self._plan, self._folder, self._report, self._pauses_s = plan, folder, report, pauses_s
        self._bytes = 0

    def all(self) -> dict[str, FileFacts]:
        """Brings what is not here yet; each file's size and hash. Raises any WeightsError."""
        return {file.name: self._one(file) for file in self._plan.files}

    def _one(self, file: RemoteFile) -> FileFacts:
        path = self._folder / file.name
        private_folder(path.parent)
        if path.is_file():
            self._heard(file, path.stat().st_size)
        else:
            self._bring(file, path)
        digest = sha256(path)
        return FileFacts(bytes=path.stat().st_size, sha256=digest)

    def _bring(self, file: RemoteFile, path: Path) -> None:
        part = path.with_name(f"{path.name}.part")
        before = self._bytes
        for last in (False, True):  # what came broken on the way is brought once more, from the start
            self._fetch(file, part)
            try:
                self._judge(file, part)
                break
            except DamagedWeights:
                part.unlink()
                self._bytes = before
                if last:
                    raise
        part.replace(path)

    def _fetch(self, file: RemoteFile, part: Path) -> None:
        if (copy := cached(self._plan.listing, file)) is not None:
            shutil.copyfile(copy, part)
            self._heard(file, file.bytes)
        else:
            if part.exists():
                self._heard(file, part.stat().st_size)
            again(
                lambda: fetch(self._plan.card, self._plan.listing, file, part, lambda count: self._heard(file, count)),
                self._pauses_s,
                progress=lambda: self._bytes,
            )
        part.touch(mode=0o600)
        part.chmod(0o600)
        with part.open("rb") as handle:
            os.fsync(handle.fileno())

    def _judge(self, file: RemoteFile, part: Path) -> None:
        actual = sha256(part)
        wrong = file.sha256 is not None and actual != file.sha256
        wrong = wrong or (file.sha256 is None and file.git_sha1 is not None and git_sha1(part) != file.git_sha1)
        if wrong or part.stat().st_size != file.bytes:
            raise DamagedWeights(
                f"{self._plan.card.id}: {file.name} came with SHA-256 {actual} and {part.stat().st_size} bytes, which "
                f"is not what the hub lists ({file.sha256 or file.git_sha1}, {file.bytes} bytes); try again later"
            )
        require_recorded(self._plan, file.name, actual)

    def _heard(self, file: RemoteFile, count: int) -> None:
        self._bytes += count
        self._report(Moved(file=file.name, bytes=self._bytes, total_bytes=self._plan.bytes))
