"""Names and folders that cannot leave the models folder, private, one writer at a time; it reads no weights.

Layout: `<models>/<card id>/<variant>/` for what was downloaded or imported (with metadata.json), or the files of one
variant straight in `<models>/<card id>/` where somebody put them by hand. Beside them, hidden: `.partial` (downloads
in progress), `.pins` (what was downloaded first, kept after a removal), `.locks`, and `audit.jsonl`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from registry.schema import Card, Variant
from registry.weights.errors import UnsafeWeights

PRIVATE = 0o700
LONGEST_PART = 200  # of a file's name; file systems end at 255 bytes
MOST_PARTS = 16
METADATA = "metadata.json"
_PART = re.compile(r"[A-Za-z0-9_+=@,()\[\] -][A-Za-z0-9._+=@,()\[\] -]*")


def safe_name(name: str) -> str:
    """The name of a file inside a folder of weights, as it was given. Raises UnsafeWeights for one that is absolute,
    climbs (`..`), is hidden, or holds anything but letters, digits and plain signs."""
    parts = name.split("/")
    plain = all(_PART.fullmatch(part) and len(part) <= LONGEST_PART and not part.endswith(" ") for part in parts)
    if not plain or len(parts) > MOST_PARTS or PurePosixPath(name).is_absolute():
        raise UnsafeWeights(f"{name[:LONGEST_PART]!r} is no name for a file of weights; it may leave its folder")
    return name


def inside(root: Path, path: Path) -> bool:
    """Whether `path`, with every link followed, lies in `root`."""
    try:
        return path.resolve(strict=False).is_relative_to(root.resolve(strict=False))
    except (OSError, RuntimeError):  # a loop of links
        return False


def private_folder(path: Path) -> Path:
    """Makes this folder and its missing parents readable by their owner alone; one that stands keeps its mode."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
    for made in missing:  # mkdir gives the mode to the last one only
        made.chmod(PRIVATE)
    return path


def card_folder(card: Card, models_dir: Path) -> Path:
    return models_dir / card.id


def variant_folder(card: Card, variant: Variant, models_dir: Path) -> Path:
    """Where a download or an import of this variant lies once it is whole."""
    return card_folder(card, models_dir) / safe_name(variant.name)


def partial_folder(card: Card, variant: Variant, models_dir: Path) -> Path:
    return models_dir / ".partial" / label(card, variant)


def pin_file(card: Card, variant: Variant, models_dir: Path) -> Path:
    return models_dir / ".pins" / f"{label(card, variant)}.json"


def label(card: Card, variant: Variant) -> str:
    """One flat name for a variant of a card."""
    return safe_name(f"{card.id.replace('/', '--').replace(':', '--')}--{variant.name}")


@contextmanager
def alone(card: Card, variant: Variant, models_dir: Path) -> Iterator[None]:
    """Waits until no other process or thread changes this variant. The lock dies with its process."""
    lock = private_folder(models_dir / ".locks") / f"{label(card, variant)}.lock"
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def names_in(folder: Path) -> Iterator[str]:
    """The files of a folder of weights, relative, in order; hidden ones and our own record are left out."""
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            relative = (Path(root) / name).relative_to(folder).as_posix()
            if not name.startswith(".") and relative != METADATA:
                yield relative


def publish(ready: Path, target: Path) -> None:
    """Renames a finished folder to its place; what stood there is gone only once the new one stands.

    After a crash between the two renames the finished folder is still there, and the next download publishes it.
    """
    private_folder(target.parent)
    old = ready.with_name(f"{ready.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    sync_folder(ready)
    if target.exists():
        target.rename(old)
    ready.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Makes a rename in this folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
