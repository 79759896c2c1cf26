"""Brings weights from the hub: whole or not at all, going on after a cut, held to their hashes; it loads no model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from registry.load import Registry
from registry.schema import Card, Variant
from registry.weights.checking import verify
from registry.weights.errors import DamagedWeights, MissingWeights
from registry.weights.fit import choose_variant, precise_first
from registry.weights.folders import (
    METADATA,
    alone,
    partial_folder,
    pin_file,
    private_folder,
    publish,
    variant_folder,
)
from registry.weights.formats import check_folder
from registry.weights.journal import audit
from registry.weights.manifest import recorded, write_manifest
from registry.weights.placing import Placed, every_placed, missing, placed, require_placed
from registry.weights.plan import Plan, plan_download, require_disk
from registry.weights.transfer import PAUSES_S, Report, Transfer, again, silent

REVISION = ".revision"  # in a partial folder: the commit its files are of


def download(
    card: Card,
    models_dir: Path,
    *,
    variant: Variant | None = None,
    available_memory_bytes: int | None = None,
    registry: Registry | None = None,
    newest: bool = False,
    allow_pickle: bool = False,
    report: Report = silent,
    pauses_s: Sequence[float] = PAUSES_S,
) -> Placed:
    """One variant of this card, from the hub into the models folder; at once where it is here whole.

    `variant` None: the one that is here already, else the most precise that fits into `available_memory_bytes` (None:
    the most precise); where none fits, `registry` finds a smaller model to name. Revision and SHA-256 are recorded in
    metadata.json at the first download and held from then on; `newest` forgets the revision recorded before. Raises
    any WeightsError; what came so far is kept and the same call goes on from there.
    """
    chosen = variant or _choose(card, models_dir, available_memory_bytes, registry)
    with alone(card, chosen, models_dir):
        if not newest and (found := _whole(card, chosen, models_dir, allow_pickle=allow_pickle)):
            return found
        plan = again(
            lambda: plan_download(card, chosen, models_dir, newest=newest, allow_pickle=allow_pickle), pauses_s
        )
        require_disk(plan, models_dir)
        folder = _open_partial(plan, models_dir)
        facts = Transfer(plan, folder, report, pauses_s).all()
        check_folder(folder, [file.name for file in plan.files], allow_pickle=allow_pickle)
        manifest = recorded(
            card.id,
            chosen.name,
            facts,
            datetime.now(UTC),
            hub_id=plan.listing.hub_id,
            revision=plan.listing.revision,
        )
        write_manifest(folder / METADATA, manifest)
        publish(folder, variant_folder(card, chosen, models_dir))
        (variant_folder(card, chosen, models_dir) / REVISION).unlink(missing_ok=True)
        private_folder(models_dir / ".pins")
        write_manifest(pin_file(card, chosen, models_dir), manifest)
    audit(
        models_dir,
        "download",
        card.id,
        chosen.name,
        bytes_=manifest.bytes,
        detail=f"{plan.listing.hub_id}@{plan.listing.revision}",
    )
    return Placed(folder=variant_folder(card, chosen, models_dir), variant=chosen)


def ensure(
    card: Card,
    models_dir: Path,
    *,
    allowed: bool,
    available_memory_bytes: int | None = None,
    registry: Registry | None = None,
    report: Report = silent,
) -> Placed:
    """Where this card's weights lie, downloaded now if they are not here and that is `allowed`.

    Any number of processes may call this at once: one downloads, the others wait and find it. Raises MissingWeights
    with what to run where it is not allowed or not possible, and what `download` raises.
    """
    found = placed(card, models_dir, available_memory_bytes=available_memory_bytes)
    if found is not None:
        return found
    if not allowed or card.package is not None or not card.variants:
        return require_placed(card, models_dir)
    return download(card, models_dir, available_memory_bytes=available_memory_bytes, registry=registry, report=report)


def _choose(card: Card, models_dir: Path, available_memory_bytes: int | None, registry: Registry | None) -> Variant:
    here = placed(card, models_dir, available_memory_bytes=available_memory_bytes)
    if here is not None and here.variant is not None:
        return here.variant
    if not card.variants:
        raise MissingWeights(missing(card, models_dir) or f"{card.id} needs no weights")
    if available_memory_bytes is not None:
        return choose_variant(card, available_memory_bytes, registry)
    return precise_first(card.variants)[0]


def _whole(card: Card, variant: Variant, models_dir: Path, *, allow_pickle: bool) -> Placed | None:
    """This variant where it is here and sound; a damaged one is brought again."""
    found = next((each for each in every_placed(card, models_dir) if each.variant == variant), None)
    if found is None:
        return None
    try:
        verify(card, found.folder, allow_pickle=allow_pickle)
    except DamagedWeights:
        if found.folder != variant_folder(card, variant, models_dir):
            raise  # put there by hand: not ours to replace
        return None
    return found


def _open_partial(plan: Plan, models_dir: Path) -> Path:
    """The folder of a download in progress; one of another commit is thrown away."""
    folder = partial_folder(plan.card, plan.variant, models_dir)
    mark = folder / REVISION
    if folder.exists() and (not mark.is_file() or mark.read_text("ascii") != plan.listing.revision):
        shutil.rmtree(folder)
    private_folder(folder)
    mark.write_text(plan.listing.revision, encoding="ascii")
    return folder
