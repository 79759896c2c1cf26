"""What `pennyroute doctor` looks at, one function per subject; each finding names the command that mends it."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import httpx
import psycopg
import redis

from orchestrator.cli.server import NotRunning, connect, find_place, read_house
from orchestrator.house import (
    CARRIER_FOLDERS,
    BinaryMissing,
    available_memory_bytes,
    find_redis_server,
    is_free,
    postgres_binaries,
)
from orchestrator.settings import Settings, environment_name
from pennyroute import PennyrouteError
from registry.load import load
from registry.schema import Tier
from registry.weights import missing

MIN_PYTHON = (3, 11)
MIN_DISK_BYTES = 2_000_000_000
MIN_MEMORY_BYTES = 1_000_000_000
PATIENCE_S = 3
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*;.*extra == ['\"](\w+)['\"]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line of the doctor. `needed` False: Pennyroute runs without it, with less. `mend` is a command or a deed."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    needed: bool = True


def look(settings: Settings, url: str | None, key: str | None, data_dir: Path | None) -> Iterator[Check]:
    """Every check, in the order in which one would mend things."""
    folder = (data_dir or settings.data_dir).expanduser().absolute()
    yield from _machine(folder)
    yield from _packages("local")
    yield from _built_in_models(folder)
    yield from _database(settings, folder)
    yield from _redis(settings, folder)
    yield from _paid_keys(settings)
    yield from _open_servers(settings)
    yield from _api(settings, url, key, data_dir)


def _machine(folder: Path) -> Iterator[Check]:
    here = ".".join(map(str, sys.version_info[:3]))
    yield Check(name="python", ok=sys.version_info >= MIN_PYTHON, detail=here, mend="install Python 3.11 or newer")
    near = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(near).free
    told = f"{free / 1e9:.1f} GB free for {folder}"
    yield Check(name="disk", ok=free >= MIN_DISK_BYTES, detail=told, mend="free 2 GB, or choose another --data-dir")
    memory = available_memory_bytes()
    if memory is not None:
        enough, told = memory >= MIN_MEMORY_BYTES, f"{memory / 1e9:.1f} GB available"
        yield Check(name="memory", ok=enough, detail=told, mend="close something: the local models need about 1 GB")


def _packages(extra: str) -> Iterator[Check]:
    """The packages of one extra, as the installed distribution names them."""
    try:
        wanted = [
            found[1]
            for line in requires("pennyroute") or []
            if (found := _REQUIREMENT.match(line)) and found[2] == extra
        ]
    except PackageNotFoundError:
        wanted = []
    install = f"pip install 'pennyroute[{extra}]' (in a checkout: scripts/install {extra})"
    for name in wanted:
        installed = _version(name)
        yield Check(
            name=f"package {name}",
            ok=installed is not None,
            detail=installed or "not installed",
            mend=install,
            needed=False,
        )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _built_in_models(folder: Path) -> Iterator[Check]:
    for card in load().cards.values():
        if card.tier is Tier.BUILTIN:
            advice = missing(card, folder / "models")
            told = f"{', '.join(card.tasks)}: {'weights are here' if advice is None else 'weights are missing'}"
            yield Check(name=f"model {card.id}", ok=advice is None, detail=told, mend=advice or "", needed=False)


def _database(settings: Settings, folder: Path) -> Iterator[Check]:
    url = settings.database_url or read_house(folder).get("database_url")
    if url is None:
        yield _binary("postgres", lambda: f"embedded, {postgres_binaries(next(iter(CARRIER_FOLDERS)))}")
        return
    try:
        with psycopg.connect(url, connect_timeout=PATIENCE_S, prepare_threshold=None) as connection:
            found = connection.execute("select to_regclass('public.model_inferences') is not null").fetchone()
    except psycopg.ProgrammingError:  # its words repeat the address, which may hold a password
        told = "its address is no Postgres URL"
        yield Check(
            name="database", ok=False, detail=told, mend="correct DATABASE_URL, or unset it for the embedded one"
        )
        return
    except psycopg.Error as error:
        told = f"does not answer: {str(error).strip().splitlines()[0]}"
        yield Check(
            name="database", ok=False, detail=told, mend="correct DATABASE_URL, or unset it for the embedded one"
        )
        return
    stands = bool(found and found[0])
    yield Check(name="database", ok=stands, detail="answers" if stands else "has no tables", mend="pennyroute db push")


def _redis(settings: Settings, folder: Path) -> Iterator[Check]:
    url = settings.redis_url or read_house(folder).get("redis_url")
    if url is None:
        yield _binary("redis", lambda: f"embedded, {find_redis_server()[0]}")
        return
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=PATIENCE_S, socket_timeout=PATIENCE_S) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        mend = "correct REDIS_URL, or unset it for the embedded one"
        yield Check(name="redis", ok=False, detail=f"does not answer: {error}", mend=mend)
        return
    yield Check(name="redis", ok=True, detail="answers")


def _binary(name: str, find: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=find())
    except BinaryMissing as error:
        return Check(name=name, ok=False, detail="no server program is installed", mend=error.message)


def _paid_keys(settings: Settings) -> Iterator[Check]:
    for provider, models in (("anthropic", "Claude"), ("openai", "GPT"), ("deepseek", "DeepSeek")):
        name = f"{provider}_api_key"
        there = getattr(settings, name) is not None
        told = f"for {models}, {'set' if there else 'not set'} in this environment or file"
        mend = f"export {environment_name(name)}=…, then start `pennyroute up` again"
        yield Check(name=f"key {provider}", ok=there, detail=told, mend=mend, needed=False)


def _open_servers(settings: Settings) -> Iterator[Check]:
    if not settings.open_servers:
        mend = f"for local text generation start Ollama, then export {environment_name('open_servers')}=ollama=http://127.0.0.1:11434/v1"
        yield Check(name="open servers", ok=False, detail="none is configured", mend=mend, needed=False)
    for name, address in settings.open_servers.items():
        try:
            listed = httpx.get(f"{address}/models", timeout=PATIENCE_S).raise_for_status().json()["data"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            mend = f"start it, or correct {environment_name('open_servers')}"
            told = f"{address} lists no models: {error}"
            yield Check(name=f"open server {name}", ok=False, detail=told, mend=mend, needed=False)
        else:
            yield Check(name=f"open server {name}", ok=True, detail=f"{address} lists {len(listed)} models")


def _api(settings: Settings, url: str | None, key: str | None, data_dir: Path | None) -> Iterator[Check]:
    try:
        place = find_place(settings, url, key, data_dir)
        with connect(url, key, data_dir, timeout_s=10.0) as client:
            health = client.call("GET", "/health/ready")
    except NotRunning as error:
        yield Check(name="api", ok=False, detail=error.message, mend="pennyroute up", needed=url is not None)
        if is_free(settings.port, settings.host):
            yield Check(name="port", ok=True, detail=f"{settings.port} on {settings.host} is free")
        else:
            told = f"{settings.port} on {settings.host} is taken by another program"
            yield Check(name="port", ok=False, detail=told, mend="pennyroute up --port N", needed=False)
        return
    except PennyrouteError as error:
        health = error.problem  # not ready is told with status 503 and the same checks
    yield Check(name="api", ok=True, detail=f"answers at {place.url}")
    for name, check in health.get("checks", {}).items():
        mend = _MENDS.get(name.partition(":")[0], "see the logs in the data folder")
        yield Check(name=f"  {name}", ok=check["ok"], detail=check["detail"], mend=mend, needed=check["required"])


_MENDS = {
    "queue": "its models' packages or weights are missing (see above), or see its log in the data folder",
    "database": "see logs/postgres.log in the data folder, or DATABASE_URL",
    "redis": "see logs/redis.log in the data folder, or REDIS_URL",
    "disk": "free some space on the data folder's disk",
    "memory": "close something, or run fewer workers",
}
