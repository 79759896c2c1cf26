"""The data folder: made private, locked, recognised, refused with words that help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.embedded.data_folder import DataFolder, secret_file
from orchestrator.adapters.embedded.errors import (
    DiskFull,
    FolderInUse,
    FolderNotWritable,
    FolderTooNew,
    NotADataFolder,
)

HOLD = """
import sys
from pathlib import Path
from orchestrator.adapters.embedded.data_folder import DataFolder
with DataFolder.open(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_a_new_folder_is_private_and_holds_its_rooms_and_format(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "deep" / "data") as folder:
        names = sorted(entry.name for entry in folder.path.iterdir())
        assert names == [
            *("blobs", "lock", "logs", "models", "pennyroute.json", "postgres", "redis", "run", "secrets"),
        ]
        assert mode(folder.path) == "0o700"
        assert mode(folder.logs) == "0o700"
        assert json.loads((folder.path / "pennyroute.json").read_text()) == {"format": 1}


def test_a_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path / "data") as folder:
        first = folder.secret("admin-key")
        assert folder.secret("admin-key") == first
        assert folder.secret("redis-password") != first
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", first)
    assert mode(secret_file(tmp_path / "data", "admin-key")) == "0o600"
    with DataFolder.open(tmp_path / "data") as folder:
        assert folder.secret("admin-key") == first


def test_a_folder_held_by_another_process_is_refused_and_the_process_named(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse, match=f"is in use by process {holder.pid}"):
            DataFolder.open(tmp_path / "data")
        holder.communicate("")
    DataFolder.open(tmp_path / "data").close()


def test_a_used_folder_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotADataFolder, match=r"not a Pennyroute data folder and is not empty .*thesis\.txt"):
        DataFolder.open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        assert folder.path == tmp_path


def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pennyroute.json").write_text('{"format": 2}')
    with pytest.raises(FolderTooNew, match="has format 2, and this version knows formats up to 1"):
        DataFolder.open(tmp_path)


def test_an_unreadable_format_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pennyroute.json").write_text("]")
    with pytest.raises(NotADataFolder, match="cannot be read as Pennyroute's format file"):
        DataFolder.open(tmp_path)


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderNotWritable, match=r"cannot be made or written \(Not a directory"):
        DataFolder.open(tmp_path / "file" / "data")
    with pytest.raises(FolderNotWritable, match=r"cannot be made or written \(File exists"):
        DataFolder.open(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FolderNotWritable, match="Name a folder you may write with --data-dir"):
        DataFolder.open(tmp_path)


def test_too_little_free_space_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"1000000000 MB are needed"):
        DataFolder.open(tmp_path / "data", min_free_bytes=10**15)
    assert list((tmp_path / "data").iterdir()) == []
