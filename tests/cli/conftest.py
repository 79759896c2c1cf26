"""The command run in this process, and once per session the whole house with recorded answers behind it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from orchestrator.cli.app import app
from orchestrator.cli.demo import replay_house
from orchestrator.house import House
from orchestrator.settings import Settings, environment_name

Cli = Callable[..., Result]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of the person who runs the tests counts; the data folder is an empty one."""
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)
    monkeypatch.delenv("OLLAMA_BASE_URL", raising=False)
    monkeypatch.delenv("PENNYROUTE_CONFIG", raising=False)
    monkeypatch.setenv("PENNYROUTE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(no_settings: Path) -> Cli:
    """`cli("route", "Hi!")` → exit_code, stdout, stderr."""

    def run(*words: str, given: str | None = None) -> Result:
        return CliRunner().invoke(app, list(words), input=given, prog_name="pennyroute")

    return run


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything that `up` starts, with the replaying server in place of every provider."""
    with replay_house(tmp_path_factory.mktemp("replay"), 0, Console(file=io.StringIO())) as house:
        yield house


@pytest.fixture
def house_cli(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command where that house is the one that runs."""
    monkeypatch.setenv("PENNYROUTE_DATA_DIR", str(house.key_file.parents[1]))
    return cli
