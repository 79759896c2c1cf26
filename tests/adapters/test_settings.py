"""Settings: one reader, a fixed precedence, and errors that name setting, source and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.errors import ConfigError
from orchestrator.core.types import Strategy
from orchestrator.settings import LIVE, Settings, environment_name, load, load_with_sources


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "pennyroute.toml"
    file.write_text('port = 9000\nhost = "10.0.0.1"\n')
    settings, sources = load_with_sources({"PENNYROUTE_CONFIG": str(file), "PENNYROUTE_PORT": "9100"})
    assert (settings.port, settings.host, settings.call_timeout_s) == (9100, "10.0.0.1", 60.0)
    assert (sources["port"], sources["host"], sources["call_timeout_s"]) == ("environment", "file", "default")


def test_the_names_other_tools_know_are_read() -> None:
    settings = load({"ANTHROPIC_API_KEY": "sk-1", "DATABASE_URL": "postgresql://x", "PENNYROUTE_LOG_LEVEL": "WARNING"})
    assert settings.anthropic_api_key is not None
    assert settings.anthropic_api_key.get_secret_value() == "sk-1"
    assert (settings.database_url, settings.log_level) == ("postgresql://x", "warning")
    assert "sk-1" not in repr(settings)
    assert environment_name("store_texts") == "PENNYROUTE_STORE_TEXTS"


def test_an_empty_variable_is_no_setting() -> None:
    assert load({"ANTHROPIC_API_KEY": "", "PENNYROUTE_PORT": ""}) == load({})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PENNYROUTE_PORT": "http"}, "setting port from PENNYROUTE_PORT is 'http': Input should be a valid integer"),
        ({"PENNYROUTE_PORT": "0"}, "setting port from PENNYROUTE_PORT is '0': Input should be greater than"),
        ({"PENNYROUTE_LOG_LEVEL": "loud"}, "setting log_level from PENNYROUTE_LOG_LEVEL is 'loud'"),
        ({"PENNYROUTE_DEFAULT_STRATEGY": "cheap"}, "setting default_strategy from PENNYROUTE_DEFAULT_STRATEGY"),
        ({"PENNYROUTE_CALL_TIMEOUT_S": "inf"}, "setting call_timeout_s from PENNYROUTE_CALL_TIMEOUT_S is 'inf'"),
        ({"PENNYROUTE_OPEN_SERVERS": "ollama"}, "expected name=address,name=address, got 'ollama'"),
        ({"PENNYROUTE_OPEN_SERVERS": "openai=http://x"}, "'openai' is no name for a server"),
        ({"PENNYROUTE_OPEN_SERVERS": "My Server=http://x"}, "'My Server' is no name for a server"),
        ({"PENNYROUTE_CONFIG": "/none/such.toml"}, "PENNYROUTE_CONFIG names /none/such.toml, which does not exist"),
    ],
)
def test_a_wrong_setting_names_itself_its_source_and_its_value(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(environment)
    assert said in wrong.value.message


@pytest.mark.parametrize(("text", "said"), [("port = ", "cannot be read as TOML"), ("prot = 1", "setting prot from")])
def test_a_wrong_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "pennyroute.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load({"PENNYROUTE_CONFIG": str(file)})


def test_a_wrong_key_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "pennyroute.toml"
    file.write_text("openai_api_key = 12345\n")
    with pytest.raises(ConfigError) as wrong:
        load({"PENNYROUTE_CONFIG": str(file)})
    assert "12345" not in wrong.value.message
    assert "openai_api_key" in wrong.value.message


def test_open_servers_are_read_from_a_list_and_from_ollamas_own_variable() -> None:
    named = load({"PENNYROUTE_OPEN_SERVERS": "ollama=http://a:1/v1/, lab=http://b:2"})
    assert named.open_servers == {"ollama": "http://a:1/v1", "lab": "http://b:2"}
    assert load({"OLLAMA_BASE_URL": "http://a:1"}).open_servers == {"ollama": "http://a:1/v1"}


def test_the_database_lays_live_values_over_and_no_others() -> None:
    settings = Settings().over({"default_strategy": "local_only", "port": 1, "unknown": 2})
    assert (settings.default_strategy, settings.port) == (Strategy.LOCAL_ONLY, 8000)
    assert "port" not in LIVE
    with pytest.raises(ConfigError, match="setting call_timeout_s from the settings table is 'soon'"):
        Settings().over({"call_timeout_s": "soon"})
