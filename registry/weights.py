"""Finds the weights of a card on this machine and holds them to their hashes; it imports no model package."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from registry.schema import Card, Variant

HASH_BLOCK_BYTES = 1 << 20


class DamagedWeights(Exception):
    """A file of weights is not the file that its card names; the text says which and what to do."""


def packaged_folder(card: Card) -> Path | None:
    """The folder in which the card's installed package keeps the weights, None where it is not usable.

    Reads the package's metadata only: importing such a package may pull in a whole framework.
    """
    found = _installed(card)
    variant = _packaged_variant(card)
    if found is None or variant is None:
        return None
    if not all(Path(str(found.locate_file(file))).is_file() for file in variant.files or ()):
        return None
    return Path(str(found.locate_file(_common_parent(variant))))


def local_folder(card: Card, models_dir: Path) -> Path | None:
    """The folder of this card under `models_dir` if it holds all files of a variant, None otherwise.

    A card that names no files is taken to be whole as soon as its folder holds anything.
    """
    folder = models_dir / card.id
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    named = [variant for variant in card.variants if variant.files]
    if named and not any(_is_whole(variant, folder) for variant in named):
        return None
    return folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Weights that are on this machine: their folder and which variant of the card they are (None: not told apart)."""

    folder: Path
    variant: Variant | None


def placed(card: Card, models_dir: Path) -> Placed | None:
    """Where the weights of this card lie, packaged or under `models_dir`; None where they are not here."""
    if card.package is not None:
        folder = packaged_folder(card)
        return Placed(folder=folder, variant=_packaged_variant(card)) if folder else None
    folder = local_folder(card, models_dir)
    if folder is None:
        return None
    whole = [variant for variant in card.variants if variant.files and _is_whole(variant, folder)]
    return Placed(folder=folder, variant=whole[0] if whole else next(iter(card.variants), None))


def missing(card: Card, models_dir: Path) -> str | None:
    """None when the weights are here or not needed here, else a sentence: what is missing, what to run."""
    if card.api_model is not None or _needs_no_weights(card):
        return None
    if card.package is not None:
        return None if packaged_folder(card) else _package_advice(card)
    if local_folder(card, models_dir):
        return None
    return f"{card.id} has no weights here; put the files of {_source(card)} into {models_dir / card.id}."


def verify(card: Card, folder: Path) -> None:
    """Compares every file in `folder` whose hash the card records; raises DamagedWeights where one differs.

    Reads whole files: call it once before a model is loaded, not per request. A file that is not there is
    `missing`'s concern.
    """
    for variant in card.variants:
        for file, expected in variant.sha256.items():
            path = folder / (Path(file).relative_to(_common_parent(variant)) if card.package else file)
            if path.is_file() and (actual := _sha256(path)) != expected:
                raise DamagedWeights(
                    f"{card.id}: {path} has SHA-256 {actual}, its card names {expected}; remove it and {_repair(card)}"
                )


def _source(card: Card) -> str:
    return f"{card.hub_id} (Hugging Face)" if card.hub_id else f"{card.name} (its card names no source)"


def _needs_no_weights(card: Card) -> bool:
    """A word list of our own: neither package nor hub nor any file."""
    return card.provider == "builtin" and card.package is None


def _installed(card: Card) -> Distribution | None:
    if card.package is None:
        return None
    name, _, wanted = card.package.partition("==")
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return found if found.version == wanted else None


def _packaged_variant(card: Card) -> Variant | None:
    return next((variant for variant in card.variants if variant.files), None)


def _common_parent(variant: Variant) -> str:
    return os.path.commonpath([os.path.dirname(file) for file in variant.files or ()])


def _is_whole(variant: Variant, folder: Path) -> bool:
    return all((folder / file).is_file() for file in variant.files or ())


def _install_command(card: Card) -> str:
    variant = _packaged_variant(card)
    options = str(variant.runtime.get("pip_options", "")) if variant else ""
    return " ".join(word for word in ("pip install", options, card.package) if word)


def _package_advice(card: Card) -> str:
    name, _, wanted = (card.package or "").partition("==")
    try:
        found = distribution(name).version
    except PackageNotFoundError:
        return f"{card.id} needs the package {card.package}; run `{_install_command(card)}`."
    if found != wanted:
        return f"{card.id} needs {name} {wanted}, found {found}; run `{_install_command(card)}`."
    return f"{card.id}: {name} {wanted} lacks its weights; run `{_install_command(card)} --force-reinstall`."


def _repair(card: Card) -> str:
    if card.package is not None:
        return f"run `{_install_command(card)} --force-reinstall`"
    return f"put the file of {_source(card)} in its place"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
