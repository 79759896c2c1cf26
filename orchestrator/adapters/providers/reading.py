"""Reads what a provider sent, trusting nothing: each getter names what was odd; it must not know a provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson


class Unreadable(ValueError):
    """A provider's answer is not what its protocol says; the message says where. Never leaves the adapters."""


def json_object(content: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises Unreadable."""
    try:
        return mapping(orjson.loads(content), "the body")
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the body of {len(content)} bytes is not JSON: {error}") from error


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unreadable(f"{where} is {_kind(value)}, expected an object")
    return value


def optional_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Absent and null read as empty."""
    return {} if value is None else mapping(value, where)


def sequence(value: Any, where: str) -> Sequence[Any]:
    """Absent and null read as empty."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise Unreadable(f"{where} is {_kind(value)}, expected a list")
    return value


def text(value: Any, where: str) -> str:
    """Absent and null read as empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable(f"{where} is {_kind(value)}, expected a string")
    return value


def index(value: Any, where: str) -> int:
    """A whole number, at least 0; absent and null read as 0."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Unreadable(f"{where} is {value!r:.40}, expected a whole number of at least 0")
    return value


def counts(value: Mapping[str, Any], names: Iterable[str], where: str) -> dict[str, int]:
    """Token counts by name; absent and null read as 0."""
    return {name: index(value.get(name), f"{where}.{name}") for name in names}


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
