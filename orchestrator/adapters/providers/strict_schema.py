"""A JSON schema → the subset OpenAI's strict mode takes, where that keeps its meaning; pure.

Source: OpenAI's structured outputs guide: every object closed, every property required."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOT_STRICT = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
    }
)


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whatever fits the result fits `schema`; None where strict mode cannot say it (open objects, `oneOf`, …)."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return None  # the root must be a plain object
    try:
        return _closed(schema)
    except _NotStrict:
        return None


class _NotStrict(Exception):
    """This part has no equal in strict mode."""


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    if NOT_STRICT & schema.keys() or not isinstance(schema.get("additionalProperties", False), bool):
        raise _NotStrict
    if "$ref" in schema and len(schema) > 1:
        raise _NotStrict
    closed = {key: value for key, value in schema.items() if key != "default"}  # strict mode refuses defaults
    for name in ("properties", "$defs"):
        if name in schema:
            closed[name] = {key: _closed(value) for key, value in schema[name].items()}
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    if "anyOf" in schema:
        closed["anyOf"] = [_closed(choice) for choice in schema["anyOf"]]
    if schema.get("type") == "object":
        if "properties" not in schema:
            raise _NotStrict  # any object at all: closing it would leave only the empty one
        closed |= {"additionalProperties": False, "required": list(schema["properties"])}
    return closed
