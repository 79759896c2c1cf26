"""`pennyroute simulate`: what a policy would have cost on recorded answers, and how good it would have been."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import simulate_plot
from orchestrator.cli.database import DatabaseUrl, find_database
from orchestrator.cli.screen import AsJson, screen, show_json
from orchestrator.cli.server import DataDir, NotRunning
from orchestrator.cli.simulate_files import DEFAULT, LOG, Named, Source, read_file, read_log, read_policy
from orchestrator.cli.simulate_run import Given, simulate
from orchestrator.cli.simulate_table import show_simulation, to_json
from orchestrator.core.errors import InvalidInput


class Costs(StrEnum):
    """card: the card's dated price on the recorded tokens; recorded: dollars of the record where there are any."""

    CARD = "card"
    RECORDED = "recorded"


def simulate_command(
    data: Annotated[
        str, typer.Option(help="JSON lines of recorded outcomes (.gz too), or `log`: the labels kept in the database.")
    ],
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A JSON file, a version in the database, `current` or `default`; may be repeated to compare.",
            show_default=DEFAULT,
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="RECORDED=CARD", help="Which card a recorded model stands for; repeat per model."
        ),
    ] = None,
    weak: Annotated[str | None, typer.Option(help="The recorded model that is the cheap end.")] = None,
    strong: Annotated[str | None, typer.Option(help="The recorded model that is the good end.")] = None,
    task_class: Annotated[str | None, typer.Option(help="Put every row under this task class.")] = None,
    scale: Annotated[float, typer.Option(min=0.001, help="Best score there is: 10 for marks out of ten.")] = 1.0,
    costs: Annotated[Costs, typer.Option(help="Price by the card, or by recorded dollars.")] = Costs.CARD,
    html: Annotated[Path | None, typer.Option(help="Write the chart and the figures as one HTML file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the chart as an image (needs the extra `plots`).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap; the same seed gives the same intervals.")] = 0,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Replay recorded outcomes through a policy: cost, quality and how near to the best, with 95% intervals.

    Every row goes through the real choice. Recorded models stand for cards of the registry: by default the one with
    the lowest mean score for local, the highest for premium, the middle one for mid. Raw answers kept beside FILE
    (FILE's name with `.weak_outputs`) are judged by the real judge and escalate as in service; where none were kept
    the first model's answer is served.

    **Examples**

    ```text
    pennyroute simulate --data outcomes.jsonl.gz
    pennyroute simulate --data outcomes.jsonl --map small=llama-3.2-1b-instruct --map big=claude-sonnet
    pennyroute simulate --data outcomes.jsonl --policy default --policy mine.json --html compared.html
    pennyroute simulate --data log --policy current --json
    ```
    """
    if png is not None:
        simulate_plot.require_matplotlib()
    for file in (html, png):
        if file is not None and not file.absolute().parent.is_dir():
            raise InvalidInput(f"{file.absolute().parent} is no folder; make it first.", field="html")
    place = _database(database_url, data_dir)
    policies = _distinct([read_policy(given, place) for given in policy or [DEFAULT]])
    source = _source(data, policies, scale, task_class, place)
    given = Given(
        cards=_mapping(map_ or []), weak=weak, strong=strong, recorded_costs=costs is Costs.RECORDED, seed=seed
    )
    shown = simulate(source, policies, given, place)
    if html is not None:
        _write(html, simulate_plot.html_of(shown))
    if png is not None:
        simulate_plot.write_png(shown, png)
    if as_json:
        show_json(to_json(shown))
    else:
        show_simulation(screen(), shown)


def _database(database_url: str | None, data_dir: Path | None) -> str | None:
    """None where none is known: only some policies and `log` need one."""
    try:
        return find_database(database_url, data_dir)
    except NotRunning:
        return None


def _source(
    data: str, policies: Sequence[Named], scale: float, task_class: str | None, database_url: str | None
) -> Source:
    if data == LOG:
        if database_url is None:
            raise NotRunning(
                "No database is known, so there are no labels to replay. Start `pennyroute up`, or name a database "
                "with --database-url; a file goes without (--data FILE)."
            )
        return read_log(database_url, policies, task_class)
    source = read_file(Path(data), scale)
    if task_class is None:
        return source
    return replace(source, rows=[replace(row, task_class=task_class) for row in source.rows])


def _distinct(policies: Sequence[Named]) -> list[Named]:
    """Two files of one name, or one policy twice, must be told apart."""
    names: list[str] = []
    for named in policies:
        again = names.count(named.name)
        names.append(named.name)
        if again:
            names[-1] = f"{named.name} #{again + 1}"
    return [replace(named, name=name) for named, name in zip(policies, names, strict=True)]


def _mapping(pairs: Sequence[str]) -> Mapping[str, str]:
    """`recorded=card`; the last `=` parts them, since names of models may hold one."""
    found: dict[str, str] = {}
    for pair in pairs:
        recorded, equals, card = pair.rpartition("=")
        if not equals or not recorded or not card:
            raise InvalidInput(f"--map {pair!r} is not RECORDED=CARD.", field="map")
        if recorded in found:
            raise InvalidInput(f"--map names {recorded!r} twice.", field="map")
        found[recorded] = card
    return found


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}.", field="html") from error
