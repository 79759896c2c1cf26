"""What a download would bring and whether the disk holds it; it brings nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from registry.schema import Card, Variant
from registry.weights.contents import wanted
from registry.weights.errors import DamagedWeights, DiskFull, MissingWeights
from registry.weights.folders import partial_folder, pin_file, variant_folder
from registry.weights.hub import Listing, RemoteFile, list_files
from registry.weights.manifest import Manifest, manifest_of, read_manifest
from registry.weights.placing import missing, source

MB = 1_000_000
KEEP_FREE_BYTES = 256 * MB  # logs and the database live on this disk too


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One variant of a card at one commit of one repository: the files to bring, and what was recorded before."""

    card: Card
    variant: Variant
    listing: Listing
    files: tuple[RemoteFile, ...]
    pin: Manifest | None

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(file.bytes for file in self.files)


def plan_download(
    card: Card, variant: Variant, models_dir: Path, *, newest: bool = False, allow_pickle: bool = False
) -> Plan:
    """Asks the hub. The revision is the one of the first download, else the card's, else the newest.

    `newest` leaves the recorded revision. Raises HubRefused, HubUnreachable, GatedModel, UnsafeWeights,
    MissingWeights (no source), DamagedWeights (the hub says another hash than was recorded).
    """
    hub_id = variant.hub_id or card.hub_id
    if card.package is not None:
        raise MissingWeights(
            missing(card, models_dir) or f"{card.id} needs no download: its weights come with {card.package}"
        )
    if hub_id is None:
        raise MissingWeights(f"{card.id} cannot be downloaded: {source(card)}; bring its files by hand")
    pin = None if newest else recorded_pin(card, variant, models_dir)
    own = card.revision if variant.hub_id in (None, card.hub_id) else None
    listing = list_files(card, hub_id, pin.revision if pin else own)
    names = wanted(variant, [file.name for file in listing.files], allow_pickle=allow_pickle)
    by_name = {file.name: file for file in listing.files}
    plan = Plan(card=card, variant=variant, listing=listing, files=tuple(by_name[name] for name in names), pin=pin)
    for file in plan.files:
        require_recorded(plan, file.name, file.sha256)
    return plan


def recorded_pin(card: Card, variant: Variant, models_dir: Path) -> Manifest | None:
    """The record of this variant's first download; it outlives a removal of the files."""
    pin = read_manifest(pin_file(card, variant, models_dir)) or manifest_of(variant_folder(card, variant, models_dir))
    return pin if pin and pin.revision else None


def require_recorded(plan: Plan, name: str, digest: str | None) -> None:
    """Raises DamagedWeights where the card, or the first download, names another hash for this file."""
    by_card = plan.variant.sha256.get(name)
    recorded = plan.pin.files.get(name) if plan.pin else None
    for expected, teller in (
        (by_card, "its card names"),
        (recorded.sha256 if recorded else None, "was recorded first"),
    ):
        if digest is not None and expected is not None and digest != expected:
            raise DamagedWeights(
                f"{plan.card.id}: {name} of {plan.listing.hub_id} has SHA-256 {digest}, {teller} {expected}; do not "
                "use it unless you know why it changed (`--newest` takes the hub's newest and records that)"
            )


def require_disk(plan: Plan, models_dir: Path) -> None:
    """Raises DiskFull before anything is brought, with required and available MB."""
    folder = partial_folder(plan.card, plan.variant, models_dir)
    there = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    required = max(0, plan.bytes - there) + KEEP_FREE_BYTES
    near = next(parent for parent in (models_dir, *models_dir.absolute().parents) if parent.exists())
    free = shutil.disk_usage(near).free
    if required > free:
        raise DiskFull(
            f"{plan.card.id} ({plan.variant.name}) needs {-(-required // MB)} MB of disk in {models_dir}, "
            f"{free // MB} MB are free; free some, or choose another --data-dir",
            required_bytes=required,
            available_bytes=free,
        )
