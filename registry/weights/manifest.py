"""metadata.json: what was downloaded or imported, from where, and its hashes; it hashes and judges no file."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from registry.rates import Frozen
from registry.weights.errors import DamagedWeights, UnsafeWeights
from registry.weights.folders import METADATA, safe_name, sync_folder

LARGEST_BYTES = 4 << 20  # a record of ten thousand files is 1.5 MB
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileFacts(Frozen):
    """One file as it was when it was recorded."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Digest


class Manifest(Frozen):
    """The record of one variant of one card. What it says is held from then on."""

    format: Literal[1] = 1
    card: str
    variant: str
    source: Literal["hub", "import"]
    hub_id: str | None = None
    revision: str | None = None
    """The commit of the hub's repository."""
    at: AwareDatetime
    files: Annotated[dict[str, FileFacts], Field(min_length=1)]

    @field_validator("files")
    @classmethod
    def _names_stay_inside(cls, files: dict[str, FileFacts]) -> dict[str, FileFacts]:
        for name in files:
            try:
                safe_name(name)
            except UnsafeWeights as error:
                raise ValueError(str(error)) from error
        return files

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(facts.bytes for facts in self.files.values())


def read_manifest(file: Path) -> Manifest | None:
    """None where there is none. Raises DamagedWeights for one that cannot be read."""
    try:
        with file.open("rb") as handle:
            text = handle.read(LARGEST_BYTES + 1)
        if len(text) > LARGEST_BYTES:
            raise DamagedWeights(f"{file} is larger than {LARGEST_BYTES >> 20} MB; remove it and download again")
        return Manifest.model_validate_json(text)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise DamagedWeights(f"{file} is no record of weights ({_first_line(error)}); remove its folder") from error


def manifest_of(folder: Path) -> Manifest | None:
    """The record in a folder of weights; see `read_manifest`."""
    return read_manifest(folder / METADATA)


def write_manifest(file: Path, manifest: Manifest) -> None:
    """All or nothing: a reader sees the old record or the new one."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as handle:
        json.dump(manifest.model_dump(mode="json"), handle, indent=1, sort_keys=True)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(file)
    sync_folder(file.parent)


def recorded(
    card: str, variant: str, files: dict[str, FileFacts], at: datetime, *, hub_id: str | None, revision: str | None
) -> Manifest:
    """The record of a download (with a hub's id and revision) or of an import (without)."""
    source: Literal["hub", "import"] = "hub" if revision else "import"
    return Manifest(card=card, variant=variant, source=source, hub_id=hub_id, revision=revision, at=at, files=files)


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'as a whole'}: {problem['msg']}"
    return str(error)
