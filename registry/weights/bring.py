"""Takes in weights that were brought by hand, and removes what is here; it never asks the hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from registry.schema import Card, Variant
from registry.weights.contents import wanted
from registry.weights.errors import DamagedWeights, DiskFull, HubRefused, MissingWeights, UnsafeWeights
from registry.weights.fit import precise_first
from registry.weights.folders import (
    METADATA,
    alone,
    card_folder,
    inside,
    names_in,
    partial_folder,
    pin_file,
    private_folder,
    publish,
    variant_folder,
)
from registry.weights.formats import check_folder
from registry.weights.hashes import sha256
from registry.weights.journal import audit
from registry.weights.loadable import require_loadable, require_plain
from registry.weights.manifest import FileFacts, Manifest, manifest_of, recorded, write_manifest
from registry.weights.placing import Placed, every_placed
from registry.weights.plan import recorded_pin


def bring(
    card: Card,
    origin: Path,
    models_dir: Path,
    *,
    variant: Variant | None = None,
    link: bool = False,
    allow_pickle: bool = False,
) -> Placed:
    """Copies (or, with `link`, hard-links) the weights in `origin` into the models folder, judged first.

    `variant` None: the one that these files are. Raises MissingWeights where they are none of the card's or lack what
    its engine needs, UnsafeWeights, DamagedWeights (headers, JSON, the card's hashes, or the metadata.json that came
    along), DiskFull.
    """
    if card.package is not None or not card.variants:
        raise MissingWeights(f"{card.id} takes no files: its weights come with {card.package or 'its code'}")
    if not origin.is_dir():
        raise MissingWeights(f"{origin} is no folder; name the one that holds the files of {card.id}")
    require_plain(origin)
    chosen, names = _recognised(card, origin, variant, allow_pickle=allow_pickle)
    require_loadable(card, chosen, origin, names)
    check_folder(origin, names, allow_pickle=allow_pickle)
    with alone(card, chosen, models_dir):
        _require_disk(card, origin, names, models_dir, link=link)
        folder = _fill(partial_folder(card, chosen, models_dir), origin, names, link=link)
        facts = {name: FileFacts(bytes=_size(folder / name), sha256=sha256(folder / name)) for name in names}
        came_with = manifest_of(origin)
        _hold(card, chosen, facts, came_with)
        revision = came_with.revision if came_with and came_with.files == facts else None
        hub_id = (chosen.hub_id or card.hub_id) if revision else None
        manifest = recorded(card.id, chosen.name, facts, datetime.now(UTC), hub_id=hub_id, revision=revision)
        write_manifest(folder / METADATA, manifest)
        target = variant_folder(card, chosen, models_dir)
        publish(folder, target)
    audit(models_dir, "import", card.id, chosen.name, bytes_=manifest.bytes, detail=str(origin))
    return Placed(folder=target, variant=chosen)


def remove(card: Card, models_dir: Path, *, variant: Variant | None = None) -> int:
    """Takes this card's weights (or one variant) off the disk, a download in progress too; returns the bytes freed.

    What was recorded of their revision on the hub stays, so that a later download is held to it. Raises
    MissingWeights where there is nothing to remove, UnsafeWeights where the folder is a link that leads elsewhere.
    """
    if card.package is not None:
        name = card.package.partition("==")[0]
        raise MissingWeights(f"{card.id} comes with the package {name}; run `pip uninstall {name}`")
    folder = card_folder(card, models_dir)
    if folder.exists() and not inside(models_dir, folder):
        raise UnsafeWeights(f"{folder} is a link that leaves the models folder; remove the link yourself")
    freed = 0
    for each in [variant] if variant else card.variants:
        with alone(card, each, models_dir):
            _keep_record(card, each, models_dir)
            places = (variant_folder(card, each, models_dir), partial_folder(card, each, models_dir))
            freed += sum(_removed(place) for place in places)
            freed += _remove_loose(card, each, models_dir)
    if variant is None:
        freed += _removed(folder)
    elif folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if not freed:
        raise MissingWeights(f"{card.id}{f' ({variant.name})' if variant else ''} has no weights here to remove")
    audit(models_dir, "remove", card.id, variant.name if variant else None, bytes_=freed)
    return freed


def _recognised(
    card: Card, origin: Path, variant: Variant | None, *, allow_pickle: bool
) -> tuple[Variant, tuple[str, ...]]:
    """Which variant these files are. A pickle is told as such only where no variant has safe files."""
    names = set(names_in(origin))
    candidates: Sequence[Variant] = [variant] if variant else precise_first(card.variants)
    problem: Exception | None = None
    for each in candidates:
        try:
            return each, wanted(each, names, allow_pickle=allow_pickle)
        except UnsafeWeights as error:
            problem = error
        except HubRefused as error:
            problem = problem or error
    if isinstance(problem, UnsafeWeights):
        raise problem
    known = ", ".join(each.name for each in card.variants)
    raise MissingWeights(f"{origin} holds no variant of {card.id} (it has {known}): {problem}") from problem


def _hold(card: Card, variant: Variant, facts: dict[str, FileFacts], came_with: Manifest | None) -> None:
    """The card's hashes, and those of a metadata.json that was brought along."""
    for name, found in facts.items():
        said = came_with.files.get(name) if came_with else None
        for expected, teller in ((variant.sha256.get(name), "its card names"), (said and said.sha256, METADATA)):
            if expected and expected != found.sha256:
                raise DamagedWeights(
                    f"{card.id}: {name} has SHA-256 {found.sha256}, {teller} {expected}; bring the right file"
                )


def _require_disk(card: Card, origin: Path, names: Sequence[str], models_dir: Path, *, link: bool) -> None:
    required = 0 if link else sum(_size(origin / name) for name in names)
    free = shutil.disk_usage(private_folder(models_dir)).free
    if required > free:
        raise DiskFull(
            f"{card.id} needs {-(-required // 10**6)} MB in {models_dir}, {free // 10**6} MB are free; "
            "free some, or use --link on the same disk",
            required_bytes=required,
            available_bytes=free,
        )


def _fill(folder: Path, origin: Path, names: Sequence[str], *, link: bool) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    for name in names:
        source, target = (origin / name).resolve(strict=True), folder / name
        private_folder(target.parent)
        if link:
            _link(source, target)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o600)
    return folder


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        raise MissingWeights(
            f"{source} cannot be linked to {target.parent} ({error.strerror}); leave out --link to copy it"
        ) from error


def _keep_record(card: Card, variant: Variant, models_dir: Path) -> None:
    """A download is recorded outside of its folder too; an import of files whose revision is known is not."""
    try:
        record = recorded_pin(card, variant, models_dir)
    except DamagedWeights:  # a record that cannot be read holds nothing, and must not keep its files here
        return
    if record is not None and not pin_file(card, variant, models_dir).exists():
        private_folder(models_dir / ".pins")
        write_manifest(pin_file(card, variant, models_dir), record)


def _remove_loose(card: Card, variant: Variant, models_dir: Path) -> int:
    """Files of this variant that somebody put straight into the card's folder."""
    folder = card_folder(card, models_dir)
    freed = 0
    for each in every_placed(card, models_dir):
        if each.variant == variant and each.folder == folder:
            others = {other.name for other in card.variants}
            for name in [name for name in names_in(folder) if name.split("/")[0] not in others]:
                freed += _size(folder / name)
                (folder / name).unlink()
    return freed


def _removed(folder: Path) -> int:
    if not folder.is_dir() or folder.is_symlink():
        return 0
    freed = sum(_size(path) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    shutil.rmtree(folder)
    return freed


def _size(path: Path) -> int:
    return path.stat().st_size
