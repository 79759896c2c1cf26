"""Lists the weights that lie on this machine's disk: in the models folder and in the hub library's cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from registry.load import Registry
from registry.weights.errors import DamagedWeights
from registry.weights.folders import inside, names_in
from registry.weights.manifest import Manifest, manifest_of
from registry.weights.placing import every_placed

OURS = "onnx"  # graphs that workers built from weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Weights on disk. `card` None: no card of the registry is this; `whole` False: no variant of it is complete."""

    place: str
    """models (our folder) or hub-cache."""
    name: str
    """The card's id, or what the folder or the repository is called."""
    card: str | None
    variant: str | None
    bytes: int
    folder: Path
    whole: bool
    note: str | None = None


def scan_models(registry: Registry, models_dir: Path) -> list[Found]:
    """Everything in the models folder, by name; downloads in progress too."""
    found: list[Found] = []
    for folder in sorted(models_dir.iterdir()) if models_dir.is_dir() else ():
        if folder.is_dir() and not folder.name.startswith(".") and folder.name != OURS:
            found += _of_folder(registry, folder, models_dir)
    partial = models_dir / ".partial"
    for folder in sorted(partial.iterdir()) if partial.is_dir() else ():
        card_id, _, variant = folder.name.partition("--")
        told = "a download in progress or interrupted; `pennyroute models download` goes on with it"
        found.append(_found("models", card_id, registry, folder, variant=variant, whole=False, note=told))
    return found


def scan_hub_cache(registry: Registry, cache_dir: Path | None = None) -> list[Found]:
    """What huggingface_hub keeps in its cache (default: where it says); empty without library or cache."""
    try:
        from huggingface_hub import scan_cache_dir  # noqa: PLC0415  (half a second; only this scan needs it)
        from huggingface_hub.errors import CacheNotFound  # noqa: PLC0415
    except ImportError:
        return []
    try:
        repositories = scan_cache_dir(cache_dir).repos
    except CacheNotFound:
        return []
    by_hub_id = _cards_by_hub_id(registry)
    models = sorted((each for each in repositories if each.repo_type == "model"), key=lambda each: each.repo_id)
    return [
        Found(
            place="hub-cache",
            name=each.repo_id,
            card=by_hub_id.get(each.repo_id.lower()),
            variant=None,
            bytes=each.size_on_disk,
            folder=Path(each.repo_path),
            whole=bool(each.revisions),
            note=_cache_note(by_hub_id.get(each.repo_id.lower())),
        )
        for each in models
    ]


def _of_folder(registry: Registry, folder: Path, models_dir: Path) -> list[Found]:
    card = registry.cards.get(folder.name)
    if not inside(models_dir, folder):
        note = "a link that leaves the models folder: not used; `pennyroute models import` takes it in"
        return [_found("models", folder.name, registry, folder, whole=False, note=note)]
    if card is None:
        note = "no card of the registry has this id"
        return [_found("models", folder.name, registry, folder, whole=False, note=note)]
    placed = every_placed(card, models_dir)
    if not placed:
        return [_found("models", card.id, registry, folder, whole=False, note="no variant of its card is complete")]
    return [
        _found(
            "models",
            card.id,
            registry,
            each.folder,
            variant=each.variant.name if each.variant else None,
            note=_note(each.folder),
        )
        for each in placed
    ]


def _found(
    place: str,
    name: str,
    registry: Registry,
    folder: Path,
    *,
    variant: str | None = None,
    whole: bool = True,
    note: str | None = None,
) -> Found:
    size = sum((folder / each).stat().st_size for each in names_in(folder) if (folder / each).exists())
    card = name if name in registry.cards else None
    return Found(place=place, name=name, card=card, variant=variant, bytes=size, folder=folder, whole=whole, note=note)


def _note(folder: Path) -> str:
    try:
        record = manifest_of(folder)
    except DamagedWeights as error:
        return str(error)
    return "put there by hand: no hashes are recorded" if record is None else _recorded(record)


def _recorded(record: Manifest) -> str:
    where = f"{record.hub_id}@{(record.revision or '')[:12]}" if record.revision else "imported"
    return f"{where}, {record.at:%Y-%m-%d}"


def _cards_by_hub_id(registry: Registry) -> dict[str, str]:
    pairs = ((card, variant.hub_id) for card in registry.cards.values() for variant in card.variants if variant.hub_id)
    own = {card.hub_id.lower(): card.id for card in registry.cards.values() if card.hub_id}
    return {hub_id.lower(): card.id for card, hub_id in pairs} | own


def _cache_note(card_id: str | None) -> str:
    if card_id is None:
        return "no card of the registry names it"
    return f"`pennyroute models download {card_id}` takes its files from here where the commit is the same"
