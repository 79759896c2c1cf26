"""Finds the weights of a card on this machine, in a package or in the models folder; it changes nothing.

A card's variants live side by side, each in a folder of its own name; files that somebody put straight into the
card's folder count as the variant they are. No model package is imported.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from registry.schema import Card, Variant
from registry.weights.contents import is_whole
from registry.weights.errors import MissingWeights, UnsafeWeights
from registry.weights.fit import need, precise_first
from registry.weights.folders import card_folder, inside, names_in, variant_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Weights that are on this machine: their folder and which variant of the card they are (None: not told apart)."""

    folder: Path
    variant: Variant | None


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
    return Path(str(found.locate_file(common_parent(variant))))


def local_folder(card: Card, models_dir: Path) -> Path | None:
    """The folder under `models_dir` that holds all files of a variant of this card, None where there is none."""
    found = _under(card, models_dir, None)
    return found.folder if found else None


def placed(card: Card, models_dir: Path, *, available_memory_bytes: int | None = None) -> Placed | None:
    """Where the weights of this card lie, packaged or under `models_dir`; None where they are not here.

    Of several variants the most precise whose engine is installed, and that fits in so much memory where that is
    given (the smallest where none fits: the caller refuses it with the figures).
    """
    if card.package is not None:
        folder = packaged_folder(card)
        return Placed(folder=folder, variant=_packaged_variant(card)) if folder else None
    return _under(card, models_dir, available_memory_bytes)


def every_placed(card: Card, models_dir: Path) -> list[Placed]:
    """Each variant of this card that lies under `models_dir`, in the order of its card."""
    folder = card_folder(card, models_dir)
    if not folder.is_dir() or not inside(models_dir, folder):
        return []
    found = [Placed(folder=each, variant=variant) for variant, each in _own_folders(card, models_dir)]
    names = set(names_in(folder)) - {f"{each.folder.name}/{name}" for each in found for name in names_in(each.folder)}
    if not card.variants:
        return [Placed(folder=folder, variant=None)] if names else []
    return [*found, *_loose(card, folder, names, {each.variant.name for each in found if each.variant})]


def missing(card: Card, models_dir: Path) -> str | None:
    """None when the weights are here or not needed here, else a sentence: what is missing, what to run."""
    if card.api_model is not None or needs_no_weights(card):
        return None
    if card.package is not None:
        return None if packaged_folder(card) else _package_advice(card)
    if local_folder(card, models_dir):
        return None
    folder = card_folder(card, models_dir)
    if folder.exists() and not inside(models_dir, folder):
        return f"{folder} is a link that leaves the models folder; run `pennyroute models import {folder} {card.id}`."
    return f"{card.id} has no weights here; {how_to_get(card, folder)}."


def how_to_get(card: Card, folder: Path) -> str:
    """Which command, or which files, bring this card's weights."""
    if any(variant.hub_id or card.hub_id for variant in card.variants):
        first = f"accept its licence at {licence_page(card)}, then " if is_gated(card, None) else ""
        return f"{first}run `pennyroute models download {card.id}`, or put the files of {source(card)} into {folder}"
    if any(variant.format == "paddle" for variant in card.variants):
        each = "(each holds inference.yml and its network)"
        return f"put unpacked inference models of {card.name} into {folder / 'det'} and {folder / 'rec'} {each}"
    return f"put the files of {source(card)} into {folder}"


def is_gated(card: Card, variant: Variant | None) -> bool:
    """Whether this variant (None: every one of the card) lies in the repository that asks for a licence first."""
    own = [each.hub_id in (None, card.hub_id) for each in ([variant] if variant else card.variants)]
    return card.gated and all(own)


def licence_page(card: Card) -> str:
    """Where a gated model's licence is accepted: its page on the hub."""
    return f"https://huggingface.co/{card.hub_id}"


def needs_no_weights(card: Card) -> bool:
    """A word list of our own: neither package nor hub nor any file."""
    return card.provider == "builtin" and card.package is None


def source(card: Card) -> str:
    return f"{card.hub_id} (Hugging Face)" if card.hub_id else f"{card.name} (its card names no source)"


def repair(card: Card) -> str:
    """What brings a damaged file back."""
    if card.package is not None:
        return f"run `{_install_command(card)} --force-reinstall`"
    if card.hub_id is not None:
        return f"run `pennyroute models download {card.id}`, or put the file of {source(card)} in its place"
    return f"put the file of {source(card)} in its place"


def common_parent(variant: Variant) -> str:
    return os.path.commonpath([os.path.dirname(file) for file in variant.files or ()])


def require_placed(card: Card, models_dir: Path, *, available_memory_bytes: int | None = None) -> Placed:
    """`placed`, or MissingWeights with the sentence of `missing`."""
    found = placed(card, models_dir, available_memory_bytes=available_memory_bytes)
    if found is None:
        raise MissingWeights(missing(card, models_dir) or f"{card.id} needs no weights")
    return found


def _under(card: Card, models_dir: Path, available: int | None) -> Placed | None:
    found = every_placed(card, models_dir)
    if len(found) <= 1:
        return found[0] if found else None
    by_name = {each.variant.name: each for each in found if each.variant}
    ordered = [by_name[variant.name] for variant in precise_first(each.variant for each in found if each.variant)]
    if available is None:
        return ordered[0]
    needs = [(each, need(card, each.variant, each.folder)) for each in ordered]
    fitting = [each for each, known in needs if known is None or known.bytes <= available]
    return fitting[0] if fitting else min(needs, key=lambda pair: pair[1].bytes if pair[1] else 0)[0]


def _own_folders(card: Card, models_dir: Path) -> Iterator[tuple[Variant, Path]]:
    for variant in card.variants:
        try:
            folder = variant_folder(card, variant, models_dir)
        except UnsafeWeights:  # a variant of a hand-made card whose name is no folder's name has none
            continue
        if folder.is_dir() and inside(models_dir, folder) and is_whole(variant, set(names_in(folder))):
            yield variant, folder


def _loose(card: Card, folder: Path, names: Collection[str], taken: Collection[str]) -> Iterator[Placed]:
    """The first variant that the files straight in the card's folder make up."""
    for variant in card.variants:
        if variant.name not in taken and is_whole(variant, names):
            yield Placed(folder=folder, variant=variant)
            return


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
