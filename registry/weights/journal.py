"""audit.jsonl in the models folder: who loaded, unloaded, downloaded, removed or imported what; it changes nothing."""

from __future__ import annotations

import json
import logging
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from registry.weights.folders import private_folder

log = logging.getLogger(__name__)

JOURNAL = "audit.jsonl"
LARGEST_BYTES = 8 << 20  # then the file is turned over, and one older one is kept
Deed = Literal["load", "unload", "download", "verify", "remove", "import"]


def audit(
    models_dir: Path,
    deed: Deed,
    card_id: str,
    variant: str | None = None,
    *,
    bytes_: int | None = None,
    who: str | None = None,
    detail: str | None = None,
) -> None:
    """Adds one line: time, deed, card, variant, bytes, who (default: this process's user and id), detail.

    One write per line, so lines of several processes do not mix. A journal that cannot be written is logged, and the
    deed goes on: a full disk must not stop a model from being unloaded.
    """
    line: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "deed": deed, "card": card_id}
    line |= {"variant": variant, "bytes": bytes_, "who": who or _whoami(), "detail": detail}
    kept = {name: value for name, value in line.items() if value is not None}
    try:
        file = private_folder(models_dir) / JOURNAL
        _turn_over(file)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, json.dumps(kept, ensure_ascii=False).encode() + b"\n")
        finally:
            os.close(handle)
    except OSError as error:
        log.warning("cannot write the audit log of %s: %s", models_dir, error)


def entries(models_dir: Path) -> Iterator[dict[str, Any]]:
    """The lines of the journal, oldest first; one that was cut by a crash is left out."""
    for name in (f"{JOURNAL}.1", JOURNAL):
        try:
            lines = (models_dir / name).read_text("utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _turn_over(file: Path) -> None:
    if file.exists() and file.stat().st_size > LARGEST_BYTES:
        file.replace(file.with_name(f"{JOURNAL}.1"))


def _whoami() -> str:
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        name = str(os.getuid())
    return f"{name} (process {os.getpid()})"
