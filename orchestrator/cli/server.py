"""Finds the running API and its key, and opens a client on it; starts nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.core.errors import ConfigError, PennyrouteError
from orchestrator.house import HOUSE_FILE
from orchestrator.settings import Settings, load
from pennyroute import Pennyroute, Unreachable

Url = Annotated[
    str | None,
    typer.Option(help="Address of the API.", show_default="PENNYROUTE_URL, else what runs on the data folder"),
]
Key = Annotated[
    str | None, typer.Option(help="API key.", show_default="PENNYROUTE_KEY, else the one in the data folder")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Data folder of the `up` to talk to.", show_default="PENNYROUTE_DATA_DIR")
]


class NotRunning(PennyrouteError):
    """No API is known, or nothing answers where it should."""

    code = "not_running"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where to ask, and with which key."""

    url: str
    key: str | None = field(default=None, repr=False)


def read_house(data_dir: Path) -> Mapping[str, str]:
    """What the `up` that runs on this folder wrote: address, key_file, database_url, redis_url; empty: none runs."""
    file = data_dir / "run" / HOUSE_FILE
    try:
        house: Mapping[str, str] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}). Give --url and --key instead.") from error
    return house


def find_place(settings: Settings, url: str | None, key: str | None, data_dir: Path | None) -> Place:
    """Option over setting over what runs here. The folder's own key goes to the folder's own API only.

    Raises NotRunning where no address is known.
    """
    house = read_house((data_dir or settings.data_dir).expanduser().absolute())
    local = house.get("address")
    told = None if data_dir else settings.url
    chosen = (url or told or local or "").rstrip("/")
    if not chosen:
        raise NotRunning(
            f"No Pennyroute runs on {data_dir or settings.data_dir}. Start one with `pennyroute up` (in another "
            "terminal), or name a running one with --url and --key."
        )
    secret = key or (settings.key.get_secret_value() if settings.key else None)
    if secret is None and chosen == local:
        secret = _read_key(Path(house["key_file"]))
    return Place(url=chosen, key=secret)


@contextmanager
def connect(
    url: str | None = None, key: str | None = None, data_dir: Path | None = None, *, timeout_s: float = 120.0
) -> Iterator[Pennyroute]:
    """A client on the running API. Raises NotRunning, ConfigError; inside, what the API answers with."""
    place = find_place(load(), url, key, data_dir)
    try:
        with Pennyroute(place.url, place.key, timeout_s=timeout_s) as client:
            yield client
    except Unreachable as error:
        raise NotRunning(
            f"Nothing answers at {place.url} ({error.message.rpartition(': ')[2]}). Start it with `pennyroute up`, "
            "or name another with --url and --key; `pennyroute doctor` looks further."
        ) from error


def _read_key(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"The key file {file} cannot be read ({error.strerror}). Give the key with --key.") from error
