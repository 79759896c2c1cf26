"""What a schema allows, type by type, once references and combinations are resolved: values without behaviour."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workers.constrain.numbers import Bounds
from workers.constrain.pattern import Node


@dataclass(frozen=True, kw_only=True, eq=False)
class Conj:
    """Schemas that a value must fit all at once; none: any value. `path` says where, for errors."""

    schemas: tuple[Any, ...]
    path: str

    @cached_property
    def key(self) -> str:
        """Equal for equal schemas; the order of properties counts, since it is the order they are written in."""
        return json.dumps(self.schemas)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conj) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """One of these, each JSON text."""

    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A string: lengths in characters, patterns it must match, whole strings it must not be."""

    least: int = 0
    most: int | None = None
    patterns: tuple[Node, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number within bounds."""

    bounds: Bounds


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """An array: what stands at the first positions, what at all others, and how many there may be."""

    prefix: tuple[Conj, ...]
    rest: Conj
    least: int
    most: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Distinct:
    """An array of different ones of these JSON texts, written in this order."""

    texts: tuple[str, ...]
    least: int
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A property with a known name."""

    name: str
    value: Conj
    required: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Extra:
    """Properties whose names are not known beforehand."""

    name: Text
    value: Conj


@dataclass(frozen=True, kw_only=True, slots=True)
class Members:
    """An object: properties in the order they are written, and how many there may be altogether."""

    named: tuple[Member, ...]
    extras: tuple[Extra, ...]
    least: int
    most: int | None


Branch = Values | Text | Number | Items | Distinct | Members
