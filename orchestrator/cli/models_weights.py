"""`pennyroute models download|prefetch|verify`: weights from the hub, and held to what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.models_choice import choose
from orchestrator.cli.models_local import (
    AllowPickle,
    VariantName,
    downloadable,
    models_folder,
    named_variant,
    placed_bytes,
    placed_facts,
    tell_placed,
    told,
)
from orchestrator.cli.models_memory import worker_memory
from orchestrator.cli.progress import transfer_bar
from orchestrator.cli.screen import AsJson, note, screen, show_json, yes_no
from orchestrator.cli.server import DataDir
from registry import weights
from registry.load import Registry, load
from registry.schema import QUEUES, Card, Tier


def download_command(
    model_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids; none: choose from a list.", metavar="[ID]…")
    ] = None,
    *,
    variant: VariantName = None,
    newest: Annotated[bool, typer.Option("--newest", help="Take the newest revision and record that one.")] = False,
    allow_pickle: AllowPickle = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Download weights: only what the model's engine needs, in the variant that fits the memory of its worker.

    A download that was cut goes on where it stopped. Revision and SHA-256 of every file are recorded the first time
    and held from then on. Half a download is never used. For gated models you are told which licence to accept.

    **Examples**

    ```text
    pennyroute models download                            choose from a list
    pennyroute models download bge-small-en-v1.5
    pennyroute models download llama-3.2-3b-instruct --variant Q4_K_M
    HF_ENDPOINT=https://mirror.example pennyroute models download bge-m3
    ```
    """
    registry, folder, memory = load(), models_folder(data_dir), worker_memory(data_dir=data_dir)
    take = partial(_download, folder=folder, variant=variant, registry=registry, memory=memory)
    with told():
        every = downloadable(registry)
        cards = [registry.get(each) for each in model_ids] if model_ids else choose(every, folder, memory)
        done = [take(card, newest=newest, allow_pickle=allow_pickle, silent=as_json) for card in cards]
    if as_json:
        show_json(done)


def prefetch_command(
    *,
    tier: Annotated[Tier, typer.Option(help="Models of this tier.")] = Tier.LOCAL,
    queue: Annotated[list[str] | None, typer.Option(help=f"Only of these queues: {', '.join(QUEUES)}.")] = None,
    core: Annotated[bool, typer.Option("--core", help="Only the models the router is built around.")] = False,
    memory_mib: Annotated[
        int | None,
        typer.Option(min=1, help="Memory of each worker that will run them.", show_default="of a worker here"),
    ] = None,
    allow_pickle: AllowPickle = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Download every model of a tier, for an image that starts without a network. Exits 1 when one is missing.

    What cannot be had (a licence not accepted, too big) is told at the end; the rest is brought all the same.

    **Examples**

    ```text
    pennyroute models prefetch --tier local --queue embeddings --queue rerank
    pennyroute models prefetch --core --memory-mib 4096 --json
    ```
    """
    unknown = sorted(set(queue or ()) - set(QUEUES))
    if unknown:
        raise typer.BadParameter(f"no queue {', '.join(unknown)}; there are {', '.join(QUEUES)}")
    folder = models_folder(data_dir)
    memory = dict.fromkeys(QUEUES, memory_mib << 20) if memory_mib else worker_memory(data_dir=data_dir)
    wanted = [card for card in downloadable(load()) if _is_wanted(card, tier, queue, core=core)]
    done = [_prefetch(card, folder, memory, allow_pickle=allow_pickle, silent=as_json) for card in wanted]
    if as_json:
        show_json(done)
    failed = [each for each in done if each["error"]]
    for each in failed if not as_json else ():
        screen().print(yes_no(False), f"{each['id']}: {each['error']}", soft_wrap=True, highlight=False)
    if not as_json:
        note(f"{len(done) - len(failed)} of {len(done)} models are here")
    if failed:
        raise typer.Exit(1)


def verify_command(
    model_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids; none: all that are here.", metavar="[ID]…")
    ] = None,
    *,
    allow_pickle: AllowPickle = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Read every file of weights again and compare it with what was recorded. Exits 1 when one differs.

    Of weights that were put into the folder by hand nothing was recorded: `models import` records their hashes.

    **Examples**

    ```text
    pennyroute models verify
    pennyroute models verify bge-small-en-v1.5 --json
    ```
    """
    registry, folder = load(), models_folder(data_dir)
    with told():
        cards = [registry.get(each) for each in model_ids] if model_ids else list(registry.cards.values())
        if model_ids:
            for card in cards:
                weights.require_placed(card, folder)
    done = [each for card in cards for each in _verified(card, folder, allow_pickle=allow_pickle, silent=as_json)]
    if as_json:
        show_json(done)
    elif not done:
        note("no weights are here; `pennyroute models download` brings some")
    if any(each["error"] for each in done):
        raise typer.Exit(1)


def _download(
    card: Card,
    *,
    folder: Path,
    variant: str | None,
    registry: Registry,
    memory: Mapping[str, int],
    newest: bool,
    allow_pickle: bool,
    silent: bool,
) -> dict[str, Any]:
    with transfer_bar(card.id, silent=silent) as report:
        here = weights.download(
            card,
            folder,
            variant=named_variant(card, variant),
            available_memory_bytes=memory.get(card.queue or ""),
            registry=registry,
            newest=newest,
            allow_pickle=allow_pickle,
            report=report,
        )
    if not silent:
        tell_placed(card, here, as_json=False)
    return placed_facts(card, here)


def _prefetch(
    card: Card, folder: Path, memory: Mapping[str, int], *, allow_pickle: bool, silent: bool
) -> dict[str, Any]:
    available = memory.get(card.queue or "")
    try:
        with transfer_bar(card.id, silent=silent) as report:
            here = weights.download(
                card, folder, available_memory_bytes=available, allow_pickle=allow_pickle, report=report
            )
    except weights.WeightsError as error:
        return {"id": card.id, "error": str(error), "code": error.code}
    return {**placed_facts(card, here), "error": None, "code": None}


def _verified(card: Card, folder: Path, *, allow_pickle: bool, silent: bool) -> Iterable[dict[str, Any]]:
    for here in _all_here(card, folder):
        error: weights.WeightsError | None = None
        with transfer_bar(card.id, silent=silent, total_bytes=placed_bytes(here)) as report:
            count = 0

            def heard(more: int) -> None:
                nonlocal count
                count += more
                report(weights.Moved(file=here.folder.name, bytes=count, total_bytes=placed_bytes(here)))  # noqa: B023

            try:
                weights.verify(card, here.folder, allow_pickle=allow_pickle, afresh=True, heard=heard)
            except weights.WeightsError as found:
                error = found
        weights.audit(folder, "verify", card.id, here.variant.name if here.variant else None, detail=_outcome(error))
        if not silent:
            words = (
                str(error) if error else f"{card.id} {here.variant.name if here.variant else ''} {_held_to(card, here)}"
            )
            screen().print(yes_no(error is None), words, soft_wrap=True, highlight=False)
        yield {
            **placed_facts(card, here),
            "error": str(error) if error else None,
            "code": error.code if error else None,
        }


def _all_here(card: Card, folder: Path) -> Sequence[weights.Placed]:
    if card.package is None:
        return weights.every_placed(card, folder)
    packaged = weights.placed(card, folder)
    return [packaged] if packaged else []


def _held_to(card: Card, here: weights.Placed) -> str:
    """What the hashes were compared with: where nothing names any, the files alone were judged."""
    named = card.package is not None or bool(here.variant and here.variant.sha256)
    if named or weights.manifest_of(here.folder) is not None:
        return "is as recorded"
    return "has whole files; put there by hand, no hashes are recorded to hold them to"


def _outcome(error: weights.WeightsError | None) -> str:
    return error.code if error else "ok"


def _is_wanted(card: Card, tier: Tier, queue: Sequence[str] | None, *, core: bool) -> bool:
    return card.tier is tier and (not queue or card.queue in queue) and (card.core or not core)
