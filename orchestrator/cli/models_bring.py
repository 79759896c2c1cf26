"""`pennyroute models import|remove`: weights brought by hand taken in, and weights taken off the disk; asks no hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.models_local import (
    AllowPickle,
    VariantName,
    models_folder,
    named_variant,
    size,
    tell_placed,
    told,
)
from orchestrator.cli.screen import AsJson, note, show_json
from orchestrator.cli.server import DataDir
from orchestrator.core.errors import InvalidInput
from registry import weights
from registry.load import load


def import_command(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the files.", metavar="DIR")],
    model_id: Annotated[
        str | None, typer.Argument(help="Whose they are.", show_default="the folder's name", metavar="[ID]")
    ] = None,
    *,
    variant: VariantName = None,
    link: Annotated[bool, typer.Option("--link", help="Hard-link instead of copying (same disk).")] = False,
    allow_pickle: AllowPickle = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Take in weights that were brought by hand, for a machine without a network. Formats and hashes are checked.

    **Examples**

    ```text
    pennyroute models import /mnt/stick/bge-small-en-v1.5
    pennyroute models import ~/Downloads/gguf llama-3.2-3b-instruct --variant Q4_K_M --link
    ```
    """
    with told():
        card = load().get(model_id or _named_by(folder.expanduser().absolute()))
        chosen = named_variant(card, variant)
        here = weights.bring(
            card, folder.expanduser(), models_folder(data_dir), variant=chosen, link=link, allow_pickle=allow_pickle
        )
    tell_placed(card, here, as_json=as_json)


def _named_by(folder: Path) -> str:
    """The folder's name, where it is a model's. Raises MissingWeights, InvalidInput."""
    if not folder.is_dir():
        raise weights.MissingWeights(f"{folder} is no folder; name the one that holds the files")
    registry = load()
    if folder.name not in registry.cards and folder.name not in registry.by_alias:
        raise InvalidInput(f"{folder.name!r} is no model's id; say whose files these are: models import {folder} ID")
    return folder.name


def remove_command(
    model_id: Annotated[str, typer.Argument(help="Id or alias of a model.", metavar="ID")],
    *,
    variant: VariantName = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Take a model's weights off the disk. Which revision they were of, and their hashes, stay recorded: a later
    download is held to them. Of files that were brought by hand without such a record nothing stays. Without a
    terminal, say --yes.

    **Examples**

    ```text
    pennyroute models remove bge-small-en-v1.5
    pennyroute models remove llama-3.2-3b-instruct --variant Q8_0 --yes
    ```
    """
    with told():
        card = load().get(model_id)
        if not yes:
            _confirm(card.id)
        freed = weights.remove(card, models_folder(data_dir), variant=named_variant(card, variant))
    if as_json:
        show_json({"id": card.id, "variant": variant, "bytes": freed})
    else:
        note(f"{card.id}: {size(freed)} freed")


def _confirm(model_id: str) -> None:
    """Exits with 1 where the answer is no, 2 where nobody can be asked."""
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"nobody can be asked here whether to remove the weights of {model_id}; say --yes")
    typer.confirm(f"Remove the weights of {model_id}?", abort=True)
