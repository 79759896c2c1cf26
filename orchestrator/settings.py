"""Every setting, with its sources: the only reader of the environment. Builds nothing.

Precedence: request > database > environment > file > default. What a request may say is in its body; the
database's values are laid over these by `Settings.over`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from orchestrator.core.errors import ConfigError
from orchestrator.core.types import Strategy

Source = Literal["database", "environment", "file", "default"]

# These names are what every other tool of the field reads; ours have the prefix.
_FOREIGN_NAMES = {
    "database_url": "DATABASE_URL",
    "redis_url": "REDIS_URL",
    "anthropic_api_key": "ANTHROPIC_API_KEY",
    "anthropic_base_url": "ANTHROPIC_BASE_URL",
    "openai_api_key": "OPENAI_API_KEY",
    "openai_base_url": "OPENAI_BASE_URL",
    "deepseek_api_key": "DEEPSEEK_API_KEY",
    "deepseek_base_url": "DEEPSEEK_BASE_URL",
}


_TAKEN_NAMES = frozenset({"anthropic", "openai", "deepseek", "huggingface", "builtin"})
_SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Settings(BaseModel):
    """One process's settings, validated. `live` ones may be changed in the database while it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: str | None = Field(None, description="Postgres URL; empty: `pennyroute up` starts its own")
    redis_url: str | None = Field(None, description="Redis URL; empty: `pennyroute up` starts its own")
    data_dir: Path = Field(Path("~/.local/share/pennyroute"), description="the one folder that holds everything")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port the API listens on")
    api_processes: int = Field(1, ge=1, le=64, description="API processes")
    worker_memory_share: float | None = Field(
        None,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="part of the memory that each worker of `up` may keep; empty: by what its models ask for",
    )
    anthropic_api_key: SecretStr | None = Field(None, description="key of the Claude models")
    anthropic_base_url: str | None = Field(None, description="another address for Anthropic's API")
    openai_api_key: SecretStr | None = Field(None, description="key of the GPT models")
    openai_base_url: str | None = Field(None, description="another address for OpenAI's API")
    deepseek_api_key: SecretStr | None = Field(None, description="key of the DeepSeek models")
    deepseek_base_url: str = Field("https://api.deepseek.com", description="address of DeepSeek's API")
    open_servers: dict[str, str] = Field(
        default_factory=dict,
        description="OpenAI-compatible servers of our own: name=address,… (ollama=http://127.0.0.1:11434/v1)",
    )
    provider_transport: Literal["auto", "sdk"] = Field(
        "auto", description="auto: plain calls go over one pooled client, the rest through the SDKs; sdk: all do"
    )
    licences: tuple[str, ...] | None = Field(None, description="only models under these licences; empty: all")
    max_concurrency: int = Field(512, ge=1, description="requests in work at once in one process; above it: 429")
    url: str | None = Field(None, description="the API that commands talk to; empty: what runs on `data_dir`")
    key: SecretStr | None = Field(None, description="the API key that commands send; empty: that of `data_dir`")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")

    default_strategy: Strategy = Field(
        Strategy.HYBRID, description="of requests that name none", json_schema_extra={"live": True}
    )
    default_max_tokens: int = Field(
        4096, ge=1, description="of requests that name none; bounds the hold", json_schema_extra={"live": True}
    )
    call_timeout_s: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="one paid call", json_schema_extra={"live": True}
    )
    local_timeout_s: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="one local call", json_schema_extra={"live": True}
    )
    store_texts: bool = Field(
        True, description="keep input and output texts in the log", json_schema_extra={"live": True}
    )
    text_retention_days: int = Field(
        30, ge=0, description="then texts are deleted; rows stay", json_schema_extra={"live": True}
    )
    hold_lapses_after_s: float = Field(
        900.0,
        gt=0,
        allow_inf_nan=False,
        description="a hold nobody ended counts as spent after this",
        json_schema_extra={"live": True},
    )

    @field_validator("data_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("open_servers", mode="before")
    @classmethod
    def _read_servers(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [entry.partition("=") for entry in value.split(",") if entry.strip()]
        if any(not name.strip() or not address for name, _, address in pairs):
            raise ValueError(f"expected name=address,name=address, got {value!r}")
        return {name.strip(): address.strip().rstrip("/") for name, _, address in pairs}

    @field_validator("open_servers")
    @classmethod
    def _names_are_free(cls, value: dict[str, str]) -> dict[str, str]:
        """A server named like a paid provider would be sent that provider's calls."""
        for name in value:
            if name in _TAKEN_NAMES or not _SERVER_NAME.fullmatch(name):
                taken = ", ".join(sorted(_TAKEN_NAMES))
                raise ValueError(f"{name!r} is no name for a server: lower case, digits, . _ -, and none of {taken}")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("licences", mode="before")
    @classmethod
    def _read_licences(cls, value: Any) -> Any:
        return (
            tuple(entry.strip() for entry in value.split(",") if entry.strip()) or None
            if isinstance(value, str)
            else value
        )

    @field_validator(
        "database_url",
        "redis_url",
        "anthropic_api_key",
        "openai_api_key",
        "deepseek_api_key",
        "url",
        "key",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    def over(self, values: Mapping[str, Any]) -> Settings:
        """These settings with the database's live values laid over them. Raises ConfigError."""
        allowed = {name: value for name, value in values.items() if name in LIVE}
        return _validated({**self.model_dump(), **allowed}, dict.fromkeys(allowed, "the settings table"))


LIVE = frozenset(
    name
    for name, field in Settings.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("live")
)


def environment_name(name: str) -> str:
    return _FOREIGN_NAMES.get(name, f"PENNYROUTE_{name.upper()}")


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Environment over file over default. Raises ConfigError naming setting, source and value."""
    return load_with_sources(environment)[0]


def load_with_sources(environment: Mapping[str, str] | None = None) -> tuple[Settings, Mapping[str, Source]]:
    """Also says where each value came from."""
    world = os.environ if environment is None else environment
    from_environment = {
        name: world[environment_name(name)] for name in Settings.model_fields if world.get(environment_name(name))
    }
    if "open_servers" not in from_environment and world.get("OLLAMA_BASE_URL"):
        from_environment["open_servers"] = f"ollama={world['OLLAMA_BASE_URL'].rstrip('/').removesuffix('/v1')}/v1"
    file = Path(world.get("PENNYROUTE_CONFIG", "pennyroute.toml"))
    from_file = _read_file(file, must_exist="PENNYROUTE_CONFIG" in world)
    told = {name: environment_name(name) for name in from_environment}
    settings = _validated({**from_file, **from_environment}, {**dict.fromkeys(from_file, str(file)), **told})
    sources: dict[str, Source] = dict.fromkeys(Settings.model_fields, "default")
    sources |= dict.fromkeys(from_file, "file")
    sources |= dict.fromkeys(from_environment, "environment")
    return settings, sources


def _read_file(file: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        if must_exist:
            raise ConfigError(f"PENNYROUTE_CONFIG names {file}, which does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}. Correct or remove it.") from error


def _validated(values: Mapping[str, Any], told: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        shown = "(hidden)" if "key" in name else repr(first.get("input"))
        raise ConfigError(
            f"setting {name} from {told.get(name, 'its default')} is {shown}: {first['msg']}. "
            "`pennyroute config` explains each setting."
        ) from error
