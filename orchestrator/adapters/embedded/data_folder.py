"""The one folder that holds everything `pennyroute up` keeps; it starts no server and reads no setting."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from orchestrator.adapters.embedded.errors import (
    DiskFull,
    EmbeddedError,
    FolderInUse,
    FolderNotWritable,
    FolderTooNew,
    NotADataFolder,
)

FORMAT = 1
FORMAT_FILE = "pennyroute.json"
LOCK_FILE = "lock"
MODELS = "models"  # weights may be downloaded before the first start
SUBFOLDERS = ("postgres", "redis", "blobs", "models", "logs", "run", "secrets")
# A month of a busy ledger's WAL and logs must not end in a half-written page.
MIN_FREE_BYTES = 500_000_000
# After `kill -9` of the supervisor its guard may still be stopping the servers; it holds the lock meanwhile.
DEAD_HOLDER_WAIT_S = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFolder:
    """An open, locked data folder; `close()` (or leaving the `with`) gives the lock back.

    `lock_fd` may be inherited by a guard process, which then holds the folder until it too has ended.
    """

    path: Path
    lock_fd: int

    @classmethod
    def open(cls, path: Path, *, min_free_bytes: int = MIN_FREE_BYTES) -> DataFolder:
        """Make or open the folder at `path` (mode 0700) and lock it against a second `up`.

        Raises FolderNotWritable, NotADataFolder, FolderTooNew, FolderInUse or DiskFull.
        """
        path = path.expanduser().absolute()
        try:
            _make_folder(path)
            _require_ours(path)
            _require_space(path, min_free_bytes)
            lock_fd = _take_lock(path / LOCK_FILE)
        except OSError as error:
            raise _explain(path, error) from error
        try:
            _fill(path)
        except OSError as error:
            os.close(lock_fd)
            raise _explain(path, error) from error
        return cls(path=path, lock_fd=lock_fd)

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    def secret(self, name: str) -> str:
        """Return the random token kept in `secrets/NAME` (0600), made on first use."""
        file = secret_file(self.path, name)
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32) + "\n")
        return file.read_text().strip()

    def close(self) -> None:
        os.close(self.lock_fd)

    def __enter__(self) -> DataFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def secret_file(path: Path, name: str) -> Path:
    """Where the secret `name` of the data folder at `path` lies; the file may not exist yet."""
    return path / "secrets" / name


def write_private(file: Path, text: str) -> None:
    """Write `file` with mode 0600 in one step: a reader sees the old text or the whole new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)


def _make_folder(path: Path) -> None:
    made = not path.exists()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if made:
        path.chmod(0o700)  # a umask may have taken bits away, and parents keep the user's own mode
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "not writable", str(path))


def _require_ours(path: Path) -> None:
    if not (path / FORMAT_FILE).exists():
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in (LOCK_FILE, MODELS))
        if foreign:
            raise NotADataFolder(
                f"{path} is not a Pennyroute data folder and is not empty (it holds {', '.join(foreign[:3])}"
                f"{', …' if len(foreign) > 3 else ''}). Name a new or empty folder with --data-dir."
            )
        return
    found = _read_format(path / FORMAT_FILE)
    if found > FORMAT:
        raise FolderTooNew(
            f"{path} has format {found}, and this version knows formats up to {FORMAT}: a newer Pennyroute "
            "made it. Update Pennyroute, or name another folder with --data-dir."
        )


def _read_format(file: Path) -> int:
    try:
        return int(json.loads(file.read_text())["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotADataFolder(
            f"{file} cannot be read as Pennyroute's format file ({error}). Put it back from a backup, "
            f'or, when this folder is surely Pennyroute\'s, write {{"format": {FORMAT}}} into it.'
        ) from error


def _require_space(path: Path, min_free_bytes: int) -> None:
    free = shutil.disk_usage(path).free
    if free < min_free_bytes:
        raise DiskFull(
            f"Only {free // 1_000_000} MB are free on the disk of {path}; {min_free_bytes // 1_000_000} MB "
            "are needed so that the database cannot run full. Free some space or name another folder "
            "with --data-dir."
        )


def _take_lock(file: Path) -> int:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + DEAD_HOLDER_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            holder = _holder(descriptor)
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise FolderInUse(
                    f"The data folder {file.parent} is in use by process {holder or 'unknown'}. Stop that "
                    "`pennyroute up` first, or start this one on another folder with --data-dir."
                ) from error
            time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _holder(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None


def _is_alive(pid: int | None) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fill(path: Path) -> None:
    for name in SUBFOLDERS:
        (path / name).mkdir(mode=0o700, exist_ok=True)
    if not (path / FORMAT_FILE).exists():
        write_private(path / FORMAT_FILE, json.dumps({"format": FORMAT}) + "\n")


def _explain(path: Path, error: OSError) -> EmbeddedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"The disk of {path} is full ({error.strerror}). Free some space or use --data-dir.")
    return FolderNotWritable(
        f"The data folder {path} cannot be made or written ({error.strerror}: {error.filename}). "
        "Name a folder you may write with --data-dir."
    )
