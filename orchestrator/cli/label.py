"""`pennyroute label`: says how good an answer was; the API keeps it and learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from orchestrator.cli.screen import AsJson, note, screen, show_json
from orchestrator.cli.server import DataDir, Key, Url, connect
from orchestrator.core.errors import InvalidInput


def label_command(
    request_id: Annotated[str, typer.Argument(help="The id of an answer (`pennyroute log` shows them).", metavar="ID")],
    outcomes: Annotated[
        list[str], typer.Argument(help="Quality from 0 to 1 of a model's answer.", metavar="MODEL=QUALITY…")
    ],
    *,
    source: Annotated[str, typer.Option(help="Who judged.")] = "person",
    inclusion: Annotated[
        float, typer.Option(min=0.000001, max=1, help="Probability with which this request was chosen.")
    ] = 1.0,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Say how good the answers to a request were: contracts are certified on labels and watched with them.

    A contract is watched by labels that know both the served model's quality and the reference's.

    **Examples**

    ```text
    pennyroute label 0193… claude-sonnet=1
    pennyroute label 0193… llama-3.2-1b-instruct=0 claude-sonnet=1
    ```
    """
    with connect(url, key, data_dir) as client:
        told = client.label(_read(outcomes), request_id=request_id, source=source, inclusion=inclusion)
    if as_json:
        show_json(told)
        return
    screen().print(Text(f"kept as {told['id']}, class {told['task_class']}"))
    if told["contract"]:
        watch = told["contract"]["watch"]
        note(f"{told['contract']['standing']}; evidence against it {watch['wealth']:.2f} of {watch['revokes_at']:.0f}")


def _read(pairs: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        model, _, quality = pair.rpartition("=")
        try:
            found[model] = float(quality)
        except ValueError as error:
            raise InvalidInput(f"{pair!r} is no MODEL=QUALITY, e.g. claude-sonnet=0.8.", field="outcomes") from error
    return found
