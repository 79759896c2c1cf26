"""JSON schemas drawn at random: nested, bounded, combined, recursive, unicode. The same seed draws the same ones."""

from __future__ import annotations

import json
from random import Random
from typing import Any

Schema = dict[str, Any]

DEPTH = 3
"""Every schema that is drawn has at least so many schemas inside each other."""
NAMES = ("id", "name", "title", "größe", "日付", "емейл", "a b", 'q"uote', "back\\slash", "emoji🙂", "x-1", "body")
WORDS = ("red", "grün", "青い", "", "a/b", "l1\nl2", 'say "hi"', "🙂🙃", "null", "0")
PATTERNS = (
    *("^[a-z]+$", "^[A-Z]{2}[0-9]{3,5}$", r"^\d{4}-\d{2}$", "foo|bar", "^(yes|no|maybe)$", r"^\w+@\w+\.[a-z]{2,3}$"),
    *("[äöü]", r"^\S+$", "^.{2,6}$", r"^#[0-9a-fA-F]{6}$", r"^\+?[0-9 ]{4,}$", "^[^<>&]*$", "(ab)+c?$", r"^\u00e9x"),
)
FORMATS = ("date", "date-time", "time", "email", "uuid", "ipv4", "uri", "hostname", "duration", "password")
TYPES = ("string", "integer", "number", "boolean", "null")


def schemas(count: int, seed: int) -> list[Schema]:
    """`count` different schemas, of the depth above."""
    draw, found = Draw(seed), {}
    while len(found) < count:
        schema = draw.whole()
        if depth(schema) >= DEPTH:
            found[json.dumps(schema)] = schema
    return list(found.values())


def depth(schema: Any) -> int:
    """How many schemas stand inside each other, at the deepest."""
    if isinstance(schema, list):
        return max(map(depth, schema), default=0)
    if not isinstance(schema, dict):
        return 0
    inner = [each for key, each in schema.items() if key not in ("enum", "const", "properties", "$defs")]
    inner += [each for key in ("properties", "$defs") for each in schema.get(key, {}).values()]
    return 1 + max(map(depth, inner), default=0)


class Draw:
    """Draws schemas from one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - repeatable, not secret
        self._few, self._one = self._random.randint, self._random.choice

    def whole(self) -> Schema:
        """A root; every third has definitions, one of which contains itself."""
        if self._few(0, 2):
            return self.inner(self._few(2, 4))
        root = self.inner(self._few(2, 3))
        place = {"$ref": self._one(("#/$defs/leaf", "#/$defs/node"))}
        outer: Schema = {"type": "object", "properties": {"of": root, "ref": place}, "required": ["ref"]}
        return outer | {"$defs": {"leaf": self.leaf(), "node": self._node()}}

    def _node(self) -> Schema:
        again = {"$ref": "#/$defs/node"}
        form = self._one(("tree", "list", "either"))
        if form == "tree":
            children = {"type": "array", "items": again, "maxItems": self._few(1, 4)}
            return {"type": "object", "properties": {"v": self.leaf(), "kids": children}, "required": ["v", "kids"]}
        if form == "list":
            return {"type": "object", "properties": {"v": self.leaf(), "next": again}, "required": ["v"]}
        return {"anyOf": [self.leaf(), {"type": "array", "items": again}]}

    def inner(self, levels: int) -> Schema:
        """A schema with about so many levels below it."""
        if levels <= 0 or self._few(0, 9) == 0:
            return self.leaf()
        return self._one((self._object, self._object, self._array, self._combined))(levels - 1)

    def leaf(self) -> Schema:
        """A schema without schemas inside."""
        return self._one((self._string, self._string, self._integer, self._number, self._listed, self._plain))()

    def _plain(self) -> Schema:
        several = self._random.sample(TYPES, self._few(1, 3))
        return {"type": several[0] if len(several) == 1 else several}

    def _some(self, type_name: str, **keywords: Any) -> Schema:
        return {"type": type_name} | {key: each for key, each in keywords.items() if self._few(0, 2)}

    def _string(self) -> Schema:
        form = self._one(("lengths", "lengths", "pattern", "format", "both"))
        if form == "pattern":
            return {"type": "string", "pattern": self._one(PATTERNS)}
        if form == "format":
            return {"type": "string", "format": self._one(FORMATS)}
        if form == "both":
            least = self._few(2, 5)
            pattern = self._one(("[a-c]", "^[a-z]+$", r"\d"))
            return {"type": "string", "pattern": pattern, "minLength": least, "maxLength": least + 4}
        return self._some("string", minLength=self._few(0, 6), maxLength=self._one((6, 7, 12, 40, 300)))

    def _integer(self) -> Schema:
        low, high = self._few(-500, 40), self._one((60, 99, 1000, 10**9))
        return self._one(
            (
                self._some("integer", minimum=low, maximum=high),
                self._some("integer", exclusiveMinimum=low, multipleOf=self._one((2, 5, 7, 100))),
                self._some("integer", exclusiveMinimum=low, exclusiveMaximum=high),
            )
        )

    def _number(self) -> Schema:
        low = self._one((self._random.uniform(-1000, 0.25), round(self._random.uniform(-9, 0.25), 2), 0))
        high = self._one((self._random.uniform(0.5, 1e6), round(self._random.uniform(0.5, 9), 2), 1))
        return self._one(
            (
                self._some("number", minimum=low, exclusiveMaximum=high),
                self._some("number", exclusiveMinimum=low, maximum=high),
                self._some("number", minimum=low, multipleOf=self._one((0.5, 0.01, 0.1, 3))),
            )
        )

    def _value(self, levels: int = 1) -> Any:
        if levels and self._few(0, 5) == 0:
            return [self._value(0) for _ in range(self._few(0, 2))]
        if levels and self._few(0, 5) == 0:
            return {self._one(NAMES): self._value(0) for _ in range(self._few(0, 2))}
        simple = (self._one(WORDS), self._few(-99, 99), self._one((True, False, None)), self._random.uniform(-9, 9))
        return self._one(simple)

    def _values(self, least: int, most: int) -> list[Any]:
        found = [self._value() for _ in range(self._few(least, most))]
        return list({json.dumps(each): each for each in found}.values())

    def _listed(self) -> Schema:
        return self._one(({"enum": self._values(1, 5)}, {"const": self._value()}))

    def _object(self, levels: int) -> Schema:
        names = self._random.sample(NAMES, self._few(0, 4))
        schema: Schema = {"type": "object", "properties": {name: self.inner(levels) for name in names}}
        schema["required"] = self._random.sample(names, self._few(0, len(names)))
        form = self._one(("none", "closed", "map", "patterns", "counted", "names"))
        if form == "closed":
            schema["additionalProperties"] = False
        elif form == "map":
            schema["additionalProperties"] = self.inner(levels)
        elif form == "patterns":
            schema["patternProperties"] = {self._one(("^x-", "[0-9]$", "^[a-z]{1,8}$")): self.leaf()}
        elif form == "counted":
            schema["minProperties"] = self._few(0, len(names) + 2)
            schema["maxProperties"] = self._few(max(schema["minProperties"], len(names)), len(names) + 4)
        elif form == "names":
            naming = {"pattern": "^[a-z_]{1,12}$"}
            return {"type": "object", "propertyNames": naming, "additionalProperties": self.inner(levels)}
        return schema

    def _array(self, levels: int) -> Schema:
        schema: Schema = {"type": "array", "items": self.inner(levels)}
        form = self._one(("plain", "counted", "least", "tuple", "unique", "contains"))
        if form == "counted":
            schema["minItems"] = self._few(0, 3)
            schema["maxItems"] = self._few(schema["minItems"], 6)
        elif form == "least":
            schema["minItems"] = self._few(1, 3)
        elif form == "tuple":
            schema["prefixItems"] = [self.inner(levels) for _ in range(self._few(1, 3))]
            schema["items"] = self._one((False, schema["items"]))
            schema["minItems"] = self._few(0, len(schema["prefixItems"]))
        elif form == "unique":
            schema |= {"items": {"enum": self._values(3, 6)}, "uniqueItems": True, "maxItems": 4}
        elif form == "contains":
            schema |= {"items": {"type": "integer"}, "contains": {"minimum": 3}}
        return schema

    def _combined(self, levels: int) -> Schema:
        form = self._one(("any", "any", "maybe", "kinds", "types", "all", "all of numbers", "beyond"))
        if form == "any":
            return {"anyOf": [self.inner(levels) for _ in range(self._few(2, 3))]}
        if form == "kinds":
            return {"oneOf": [self._kind(value, self.inner(levels)) for value in ("a", "ä", 3)]}
        if form == "types":
            return {"oneOf": [{"type": "null"}, self._string(), self._integer()]}
        if form == "all":
            first = {"type": "object", "properties": {"own": self.inner(levels)}, "required": ["own"]}
            return {"allOf": [first, {"properties": {"more": self.leaf()}, "required": ["more"]}]}
        if form == "all of numbers":
            return {"allOf": [{"type": "integer", "minimum": self._few(-99, 9)}, {"maximum": 55}], "title": "between"}
        if form == "beyond" and self._few(0, 5) == 0:  # what no grammar can say
            return self._one(({"not": {"type": "null"}}, {"if": {"type": "integer"}, "then": {"minimum": 3}}))
        return {"anyOf": [self.inner(levels), {"type": "null"}]}

    def _kind(self, value: Any, schema: Schema) -> Schema:
        return {"type": "object", "properties": {"kind": {"const": value}, "of": schema}, "required": ["kind", "of"]}
