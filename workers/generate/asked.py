"""What one call asks of a language model, checked; it knows no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from workers.modality import Code, Item, Turn, WorkerError

TEMPERATURE = 0.3
TOP_P = 0.95  # both engines' and most models' own; a caller who wants the whole distribution says 1
MAX_TOKENS = 2048
MOST_STOPS = 16
SAFER_TEMPERATURE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One generation. `top_k` 0: no limit; `seed` None: a new one each time; `temperature` 0: greedy.

    With a `schema` the `stop` strings are left out: they would cut the JSON.
    """

    turns: tuple[Turn, ...] = field(repr=False)
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: tuple[str, ...]
    max_tokens: int
    schema: Mapping[str, Any] | None
    stream: bool


def read(item: Item) -> Asked:
    """Raises WorkerError `invalid_input` that names the option and its value. `turns`, or `texts` as the user's."""
    options = item.options
    schema = _schema(options.get("schema"))
    return Asked(
        turns=_turns(item),
        temperature=_number(options, "temperature", TEMPERATURE, 0.0, 10.0),
        top_p=_number(options, "top_p", TOP_P, 0.0, 1.0) or 1e-6,  # 0 leaves the likeliest token
        top_k=_count(options, "top_k", 0, 0),
        seed=_count(options, "seed", 0, 0) % 2**31 if options.get("seed") is not None else None,
        stop=() if schema is not None else _stops(options.get("stop") or ()),
        max_tokens=_count(options, "max_tokens", MAX_TOKENS, 1),
        schema=schema,
        stream=bool(options.get("stream")),
    )


def safer(item: Item) -> Item | None:
    """The same call with less chance in it, to be tried once where a generation failed: temperature 0.1, or greedy
    where it was that low already; None where it was greedy: it would fail in the same way."""
    temperature = item.options.get("temperature", TEMPERATURE)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not temperature > 0:
        return None
    calmer = SAFER_TEMPERATURE if temperature > SAFER_TEMPERATURE else 0.0
    return replace(item, options={**item.options, "temperature": calmer})


def _turns(item: Item) -> tuple[Turn, ...]:
    turns = item.turns or tuple(Turn(role="user", content=text) for text in item.texts)
    if not turns:
        raise _wrong("generate needs at least one turn; `turns` is empty")
    for number, turn in enumerate(turns):
        if turn.role not in ("system", "user", "assistant"):
            raise _wrong(f"turns[{number}].role is system, user or assistant, got {turn.role!r:.40}")
    if turns[-1].role == "system":
        return (*turns, Turn(role="user", content=""))
    return turns


def _number(options: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _wrong(f"{name} is a number from {least:g} to {most:g}, got {value!r:.40}")
    if not least <= value <= most:
        raise _wrong(f"{name} is a number from {least:g} to {most:g}, got {value:g}")
    return float(value)


def _count(options: Mapping[str, Any], name: str, default: int, least: int) -> int:
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(f"{name} is a whole number, at least {least}, got {value!r:.40}")
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else value
    if not isinstance(stops, Sequence) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _wrong(f"stop is a list of texts that are not empty, got {value!r:.80}")
    if len(stops) > MOST_STOPS:
        raise _wrong(f"stop holds at most {MOST_STOPS} texts, got {len(stops)}")
    return tuple(stops)


def _schema(value: Any) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    raise _wrong(f"schema is a JSON schema as an object, got {value!r:.80}")


def _wrong(message: str) -> WorkerError:
    return WorkerError(Code.INVALID_INPUT, message)
