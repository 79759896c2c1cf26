"""interim"""

from __future__ import annotations
import json
from collections.abc import Mapping
from typing import Any


def bounded_grammar(schema: Mapping[str, Any], budget: int) -> tuple[str, int]:
    body = json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}}, ensure_ascii=False)
    return '%llguidance {"no_forcing":true}\nstart: %json ' + body + "\n", budget
