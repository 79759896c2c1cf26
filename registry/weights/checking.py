"""Holds weights to their card, their record and their own headers before loading; it mends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from registry.schema import Card, Variant
from registry.weights.errors import DamagedWeights, UnsafeWeights
from registry.weights.folders import METADATA, inside, names_in, safe_name
from registry.weights.formats import check_folder
from registry.weights.hashes import fresh_sha256, sha256
from registry.weights.manifest import Manifest, manifest_of
from registry.weights.placing import common_parent, repair

Heard = Callable[[int], None]


def verify(
    card: Card, folder: Path, *, allow_pickle: bool = False, afresh: bool = False, heard: Heard | None = None
) -> None:
    """Names, sizes, headers and hashes of the weights in `folder`: by the card, and by metadata.json where it stands.

    Reads whole files once per process (`afresh`: again), so call it before a model is loaded, not per request. A file
    that is not there is `missing`'s concern, unless metadata.json names it. Raises DamagedWeights, UnsafeWeights.
    """
    digest = fresh_sha256 if afresh else sha256
    names = _names(card, folder)
    for name in names:
        _require_inside(card, folder, name)
    check_folder(folder, names, allow_pickle=allow_pickle)
    manifest = None if card.package else manifest_of(folder)
    if manifest is not None:
        _hold_sizes(card, folder, manifest)
    for name, expected, teller in _expected(card, folder, manifest):
        path = folder / name
        if path.is_file() and (actual := digest(path, heard)) != expected:
            raise DamagedWeights(
                f"{card.id}: {path} has SHA-256 {actual}, {teller} {expected}; remove it and {repair(card)}"
            )


def _names(card: Card, folder: Path) -> list[str]:
    """The files to look at: of a package those its card names, else all that are there."""
    if card.package is None:
        return list(names_in(folder))
    return [name for variant in card.variants for name in _placed_names(card, variant) if (folder / name).exists()]


def _require_inside(card: Card, folder: Path, name: str) -> None:
    safe_name(name)
    if card.package is None and not inside(folder, folder / name):
        raise UnsafeWeights(f"{card.id}: {folder / name} is a link that leaves its folder; put the file itself there")


def _hold_sizes(card: Card, folder: Path, manifest: Manifest) -> None:
    for name, facts in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise DamagedWeights(f"{card.id}: {path} is gone, {METADATA} names it; {repair(card)}")
        if (size := path.stat().st_size) != facts.bytes:
            raise DamagedWeights(
                f"{card.id}: {path} has {size} bytes, {METADATA} says {facts.bytes}; remove it and {repair(card)}"
            )


def _expected(card: Card, folder: Path, manifest: Manifest | None) -> Iterator[tuple[str, str, str]]:
    """(file, digest, who says so): the card first, then the record for files the card is silent about."""
    said = set()
    for variant in card.variants:
        for file, digest in variant.sha256.items():
            name = _placed_name(card, variant, file)
            said.add(name)
            yield name, digest, "its card names"
    for name, facts in manifest.files.items() if manifest else ():
        if name not in said:
            yield name, facts.sha256, f"{METADATA} recorded"


def _placed_names(card: Card, variant: Variant) -> list[str]:
    return [_placed_name(card, variant, file) for file in variant.files or ()]


def _placed_name(card: Card, variant: Variant, file: str) -> str:
    return Path(file).relative_to(common_parent(variant)).as_posix() if card.package else file
