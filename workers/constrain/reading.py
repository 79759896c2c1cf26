"""A JSON schema → its branches: references resolved, combinations merged, what cannot be followed refused by name.

It bounds nothing and writes no grammar. Every branch is at most as wide as the schema: properties that an object
does not declare are not offered, a keyword that only speaks of strings means a string."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from workers.constrain.apart import never_fits
from workers.constrain.merging import Part, members_of, number_of, positions_of, text_of
from workers.constrain.shapes import Branch, Conj, Distinct, Members, Number, Text, Values
from workers.constrain.telling import MOST_TOLD
from workers.modality import Code, WorkerError

MOST_BRANCHES = 300  # of one place of a schema, after anyOf and allOf are multiplied out
MOST_VALUES = 1000  # of one enum
MOST_PATTERN = 1000  # characters
_REFUSED = ("not", "if", "then", "else", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef")
_APPLIED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "$defs", "definitions"})
_TYPES: Mapping[str, frozenset[str]] = {
    "number": frozenset({"integer", "fraction"}),  # so that types meet as sets do
    **{name: frozenset({name}) for name in ("string", "integer", "object", "array", "boolean", "null")},
}
_EVERY = frozenset().union(*_TYPES.values())
_SPEAKS_OF: Mapping[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "object": (
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired"),
    ),
}


def refused(path: str, keyword: str, why: str) -> WorkerError:
    """The error for a feature that cannot be followed."""
    return WorkerError(
        Code.INVALID_INPUT, f"the schema at {path or '#'} uses {keyword}, which structured output cannot follow: {why}"
    )


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    """A validator that fetches nothing."""
    return Draft202012Validator(dict(schema), registry=Registry())


class Reading:
    """One schema's places, each read once. Raises WorkerError `invalid_input` from every method."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            Draft202012Validator.check_schema(schema)
            json.dumps(schema)
        except (SchemaError, TypeError, ValueError) as error:
            told = error.message if isinstance(error, SchemaError) else str(error)
            raise WorkerError(Code.INVALID_INPUT, f"this is not a JSON schema: {told[:300]}; correct it") from error
        self._root = schema
        self._validator = validator_of(schema)
        self._read: dict[str, tuple[Branch, ...]] = {}

    @property
    def root(self) -> Conj:
        return Conj(schemas=(self._root,), path="#")

    def branches(self, place: Conj) -> tuple[Branch, ...]:
        """What a value at this place may be; empty: nothing."""
        if place.key not in self._read:
            self._read[place.key] = tuple(dict.fromkeys(self._branches(place)))
        return self._read[place.key]

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value fits a part of this schema, by jsonschema."""
        return bool(self._validator.evolve(schema=schema).is_valid(value))

    def _branches(self, place: Conj) -> Iterator[Branch]:
        several: list[tuple[Part, ...]] = [()]
        for schema in place.schemas:
            alone = len(place.schemas) == 1
            several = _cross(several, self.expand(schema, place.path, frozenset(), alone=alone), place.path)
        for parts in several:
            for branch in self.typed(parts, place.path):
                yield from self._fitting(branch, place)

    def _fitting(self, branch: Branch, place: Conj) -> Iterator[Branch]:
        """Values must fit every schema of the place, whatever keywords it has."""
        if not isinstance(branch, Values):
            yield branch
            return
        checks = [_without_enum(schema) for schema in place.schemas]
        read = ((text, json.loads(text)) for text in branch.texts)
        texts = tuple(
            text
            for text, value in read
            if all((listed is None or _same(text) in listed) and self.fits(rest, value) for listed, rest in checks)
        )
        if texts:
            yield Values(texts=texts)

    def expand(
        self, schema: Any, path: str, seen: frozenset[str] = frozenset(), *, alone: bool = False
    ) -> list[tuple[Part, ...]]:
        """The alternatives of one schema, each a list of parts without references and combinations. `seen`: the
        references that led here. `alone`: no other schema speaks of the same value."""
        if isinstance(schema, bool):
            return [()] if schema else []
        if len(schema.get("enum", ())) > MOST_VALUES:
            raise refused(path, "enum", f"it lists more than {MOST_VALUES} values")
        if "const" in schema or "enum" in schema:
            return [(Part(path=path, schema={"enum": [schema["const"]] if "const" in schema else schema["enum"]}),)]
        _check(schema, path, is_root=schema is self._root, alone=alone)
        own = {key: value for key, value in schema.items() if key not in _APPLIED}
        several: list[tuple[Part, ...]] = [(Part(path=path, schema=own),)]
        if "$ref" in schema:
            several = _cross(several, self._referred(schema["$ref"], path, seen), path)
        for number, each in enumerate(schema.get("allOf", ())):
            several = _cross(several, self.expand(each, f"{path}/allOf/{number}", seen), path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                choices = [
                    self.expand(each, f"{path}/{keyword}/{number}", seen) for number, each in enumerate(schema[keyword])
                ]
                if keyword == "oneOf":
                    self._must_be_apart(schema, several, choices, path)
                several = _cross(several, [parts for choice in choices for parts in choice], path)
        return several

    def _referred(self, reference: str, path: str, seen: frozenset[str]) -> list[tuple[Part, ...]]:
        if reference in seen:
            raise refused(path, f"$ref {reference!r}", "it leads back to itself without an object or array between")
        return self.expand(self._resolve(reference, path), reference, seen | {reference})

    def _resolve(self, reference: str, path: str) -> Any:
        if not reference.startswith("#"):
            raise refused(path, f"$ref {reference!r}", "it points outside the schema; put that part under $defs")
        if reference not in ("#", "") and not reference.startswith("#/"):
            raise refused(path, f"$ref {reference!r}", "anchors are not followed; write #/$defs/…")
        target: Any = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(name)] if isinstance(target, list) else target[name]
            except (KeyError, ValueError, IndexError, TypeError) as error:
                raise WorkerError(
                    Code.INVALID_INPUT, f"the schema at {path} has the $ref {reference!r}, which points at nothing"
                ) from error
        return target

    def typed(self, parts: tuple[Part, ...], path: str) -> Iterator[Branch]:
        """The branches of merged parts, one per type they allow."""
        listed = next((part.schema["enum"] for part in parts if "enum" in part.schema), None)
        if listed is not None:
            yield Values(texts=tuple(dict.fromkeys(json_text(value) for value in listed)))
            return
        types = types_of(parts)
        if types >= {"integer"}:
            yield Number(bounds=number_of(parts, whole="fraction" not in types))
        if "string" in types:
            yield text_of(parts)
        if "array" in types:
            yield from self._array(parts, path)
        if "object" in types:
            yield from self._object(parts, path)
        if "boolean" in types:
            yield Values(texts=("true", "false"))
        if "null" in types:
            yield Values(texts=("null",))

    def _array(self, parts: tuple[Part, ...], path: str) -> Iterator[Branch]:
        items, unique = positions_of(parts, path)
        if not unique or (items.most is not None and items.most <= 1):
            yield items
            return
        choices = () if items.prefix else self.branches(items.rest)
        texts = tuple(text for branch in choices if isinstance(branch, Values) for text in branch.texts)
        if not choices or any(not isinstance(branch, Values) for branch in choices):
            raise refused(path, "uniqueItems", "only items from an enum can be kept apart; leave it out, check after")
        different = tuple({_same(text): text for text in texts}.values())
        most = len(different) if items.most is None else min(items.most, len(different))
        if items.least <= most:
            yield Distinct(texts=different, least=items.least, most=most)

    def _object(self, parts: tuple[Part, ...], path: str) -> Iterator[Branch]:
        naming = tuple(part.schema["propertyNames"] for part in parts if "propertyNames" in part.schema)
        names = self.branches(Conj(schemas=(*naming, {"type": "string"}), path=f"{path}/propertyNames"))
        listed = tuple(json.loads(text) for each in names if isinstance(each, Values) for text in each.texts)
        free = tuple(each for each in names if isinstance(each, Text))
        if len(free) > 1:
            raise refused(path, "propertyNames", "it allows several kinds of names; allow one pattern or an enum")
        found = members_of(parts, path, free[0] if free else None, listed)
        if found is not None:
            if found.least - len(found.named) > MOST_TOLD:
                why = f"it asks for more than {MOST_TOLD} properties that are not declared"
                raise refused(path, "minProperties", why)
            kept = tuple(each for each in found.named if not naming or all(self.fits(s, each.name) for s in naming))
            if not any(each.required for each in found.named if each not in kept):
                yield Members(named=kept, extras=found.extras, least=found.least, most=found.most)

    def _must_be_apart(
        self,
        schema: Mapping[str, Any],
        around: list[tuple[Part, ...]],
        choices: list[list[tuple[Part, ...]]],
        path: str,
    ) -> None:
        for number, several in enumerate(choices):
            for other, rival in enumerate(schema["oneOf"]):
                wholes = [(*outer, *parts) for outer in around for parts in several]
                if other != number and not all(never_fits(self, whole, rival, path) for whole in wholes):
                    why = f"a value may fit both {number} and {other}; write anyOf, or a const that differs"
                    raise refused(path, "oneOf", why)


def types_of(parts: tuple[Part, ...]) -> frozenset[str]:
    """The types that parts allow; without `type`, those that their keywords speak of."""
    stated = [part.schema["type"] for part in parts if "type" in part.schema]
    if stated:
        met = _EVERY
        for each in stated:
            met &= frozenset().union(*(_TYPES[name] for name in ([each] if isinstance(each, str) else each)))
        return met
    keywords = {keyword for part in parts for keyword in part.schema}
    spoken = [_TYPES[name] for name, words in _SPEAKS_OF.items() if keywords & set(words)]
    return frozenset().union(*spoken) if spoken else _EVERY


def _check(schema: Mapping[str, Any], path: str, *, is_root: bool, alone: bool) -> None:
    for keyword in _REFUSED:
        if keyword in schema:
            raise refused(path, keyword, "a grammar cannot say it; state what is allowed instead")
    for keyword in ("unevaluatedProperties", "unevaluatedItems"):
        if keyword in schema and (schema[keyword] is not False or not alone):
            raise refused(path, keyword, "only false is followed, and only outside of allOf, anyOf, oneOf and $ref")
    if "$id" in schema and not is_root:
        raise refused(path, "$id", "schemas inside schemas are not followed; put that part under $defs")
    for pattern in (*schema.get("patternProperties", ()), *((schema["pattern"],) if "pattern" in schema else ())):
        if len(pattern) > MOST_PATTERN:
            raise refused(path, "pattern", f"it is longer than {MOST_PATTERN} characters")
        try:
            re.compile(pattern)
        except re.error as error:
            raise refused(path, f"pattern {pattern!r}", f"it is not a regular expression: {error}") from error


def _cross(left: list[tuple[Part, ...]], right: list[tuple[Part, ...]], path: str) -> list[tuple[Part, ...]]:
    if len(left) * len(right) > MOST_BRANCHES:
        raise refused(path, "anyOf", f"its combinations come to more than {MOST_BRANCHES}; write fewer alternatives")
    return [(*one, *other) for one in left for other in right]


def json_text(value: Any) -> str:
    """JSON text without blanks. Lone surrogates stay escaped: UTF-8 cannot carry them."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def _without_enum(schema: Any) -> tuple[frozenset[str] | None, Any]:
    """The values a schema lists, ready for looking up (jsonschema compares one by one), and its other keywords."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("enum"), list):
        return None, schema
    listed = frozenset(_same(json_text(value)) for value in schema["enum"])
    return listed, {key: value for key, value in schema.items() if key != "enum"}


def _same(text: str) -> str:
    """Equal for values that JSON schema calls equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(_canonical(json.loads(text)), sort_keys=True)


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    return {key: _canonical(each) for key, each in value.items()} if isinstance(value, dict) else value
