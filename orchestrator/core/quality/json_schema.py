"""Checks values against a caller's JSON schema. It fetches nothing: a `$ref` must point inside the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

# Without this registry the library opens every http:// reference it meets, on whatever network we stand in.
_NOTHING_ELSE: Registry[Any] = Registry()
_DATA = frozenset({"const", "enum", "default", "examples"})


def objection(schema: Mapping[str, Any]) -> str | None:
    """Why `schema` cannot be used, in words that follow "the schema …"; None where it can."""
    try:
        Draft202012Validator.check_schema(dict(schema))
        references = tuple(_references(schema))
    except SchemaError as error:
        return f"is not a JSON schema: {error.message}"
    except RecursionError:
        return "is nested too deeply"
    resolver = _NOTHING_ELSE.resolver_with_root(DRAFT202012.create_resource(dict(schema)))
    for reference in references:
        if not reference.startswith("#"):
            return f"has the reference {reference!r}, which points outside it; put that part under $defs"
        try:
            resolver.lookup(reference)
        except Unresolvable:
            return f"has the reference {reference!r}, which points at nothing"
    return None


def fits(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether `value` validates; a schema that cannot be evaluated (endless, too deep) is fit by nothing."""
    try:
        return bool(Draft202012Validator(dict(schema), registry=_NOTHING_ELSE).is_valid(value))
    except (Unresolvable, RecursionError, re.error):
        return False


def misfit(schema: Mapping[str, Any], value: Any) -> str | None:
    """What keeps `value` from validating, in the library's words with where it is; None where nothing does."""
    try:
        found = best_match(Draft202012Validator(dict(schema), registry=_NOTHING_ELSE).iter_errors(value))
    except (Unresolvable, RecursionError, re.error) as error:
        return f"the schema cannot be evaluated: {error}"
    return None if found is None else f"{found.json_path}: {found.message[:300]}"


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            elif key not in _DATA:
                yield from _references(value)
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _references(each)
