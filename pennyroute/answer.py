"""What a call returns, read from the server's JSON; asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from pennyroute.errors import InvalidAnswer


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer. `output` is the text of a generate, else the task's own JSON; `why` tells the plan and each
    attempt; `notes` what a local model says of how it answered (truncated, dropped_turns, calibrated); `parsed` is
    the validated instance (or plain JSON) when a schema was given."""

    id: str
    task: str
    output: Any
    model: str
    tier: str
    cost_usd: Decimal
    cost_nanousd: int
    latency_ms: float
    why: Mapping[str, Any]
    quality_score: float | None = None
    finish_reason: str | None = None
    usage: Mapping[str, int] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    stored_ids: tuple[str, ...] = ()
    notes: Mapping[str, Any] | None = None
    parsed: Any = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A stored text that a search found; `similarity` is the cosine, 1 = same direction."""

    id: str
    text: str
    metadata: Mapping[str, Any]
    similarity: float


def read_answer(body: Mapping[str, Any], schema: Any = None) -> Answer:
    """Raises InvalidAnswer when `schema` was asked for and the output does not fit it."""
    known = {field.name: body[field.name] for field in fields(Answer) if body.get(field.name) is not None}
    known |= {name: tuple(known[name]) for name in ("tool_calls", "stored_ids") if name in known}
    answer = Answer(**{"output": None, **known, "cost_usd": Decimal(body["cost_usd"])})
    return answer if schema is None or answer.tool_calls else replace(answer, parsed=_parsed(answer.output, schema))


def read_found(body: Mapping[str, Any]) -> tuple[Found, ...]:
    return tuple(Found(**{field.name: row[field.name] for field in fields(Found)}) for row in body["results"])


def _parsed(output: Any, schema: Any) -> Any:
    text = output if isinstance(output, str) else json.dumps(output)
    try:
        return json.loads(text) if isinstance(schema, Mapping) else schema.model_validate_json(text)
    except ValueError as error:
        raise InvalidAnswer(
            f"the output does not fit the schema: {error}", code="invalid_answer", problem={"output": output}
        ) from error
