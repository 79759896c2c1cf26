"""interim"""

from __future__ import annotations
from collections.abc import Mapping
from typing import Any
from jsonschema import Draft202012Validator


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(dict(schema))
