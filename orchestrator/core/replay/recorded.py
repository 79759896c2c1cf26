"""Reads recorded outcomes: which model answered which request how well. Takes lines; opens no file.

Two shapes, one JSON object a line: a benchmark's `{"query", "in_tok", "split_key", "models": {name: {"score" or
"score_fixed", "out_tok", "in_tok", "usd", "pred"}}}`, and a label's `{"text", "outcomes": {name: quality}}`; either
with `"answers": {name: text}` where raw answers were kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import orjson

from orchestrator.core.errors import InvalidInput

MOST_CHARACTERS = 10_000_000
_MOST_TOKENS = 100_000_000
_MOST_USD = 1_000_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One model's answer to one request: its quality in [0, 1]; tokens, dollars and the final answer it came to where
    they were recorded."""

    quality: float
    output_tokens: int | None = None
    input_tokens: int | None = None
    usd: float | None = None
    final: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One request with what each model made of it. Rows of one `cluster` are variants of each other: a sample takes
    them together. `answers` holds raw answers where they were kept."""

    id: str
    text: str
    cluster: str
    outcomes: Mapping[str, Outcome]
    input_tokens: int | None = None
    task_class: str | None = None
    dataset: str | None = None
    answers: Mapping[str, str] = field(default_factory=dict)


class _Field:
    """Where in the file a value stands, for errors."""

    def __init__(self, source: str, line: int) -> None:
        self._at = f"{source}, line {line}"

    def wrong(self, name: str, found: object, wanted: str) -> InvalidInput:
        shown = repr(found)
        shown = f"{shown[:60]}…" if len(shown) > 60 else shown
        return InvalidInput(f"{self._at}: {name} is {shown}; it must be {wanted}.", field=name)

    def missing(self, name: str, wanted: str) -> InvalidInput:
        return InvalidInput(f"{self._at}: {name} is missing; {wanted}.", field=name)

    def not_json(self, why: object) -> InvalidInput:
        return InvalidInput(f"{self._at}: this is not one JSON object ({why}).", field="line")


def read_rows(lines: Iterable[bytes], source: str, *, scale: float = 1.0) -> Iterator[Recorded]:
    """The rows in order; blank lines are skipped. `scale` is the best score there is (10 for marks out of ten).

    Raises InvalidInput naming the line and the field.
    """
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            at = _Field(source, number)
            yield _row(_object(text, at), at, f"line {number}", scale)


def read_answers(lines: Iterable[bytes], source: str) -> Mapping[str, Mapping[str, str]]:
    """Raw answers kept beside the rows, `{"id", "model", "output"}` a line: row id → model → answer."""
    found: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            at = _Field(source, number)
            told = _object(line, at)
            row_id, model, output = (_text(told, name, at) for name in ("id", "model", "output"))
            found.setdefault(row_id, {})[model] = output
    return found


def _object(line: bytes, at: _Field) -> Mapping[str, Any]:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise at.not_json(error) from error
    if not isinstance(told, dict):
        raise at.not_json(f"it is a {type(told).__name__}")
    return told


def _row(told: Mapping[str, Any], at: _Field, unnamed: str, scale: float) -> Recorded:
    if "query" in told or "models" in told:
        text, outcomes = _text(told, "query", at), _models(told, at, scale)
    elif "text" in told or "outcomes" in told:
        text, outcomes = _text(told, "text", at), _outcomes(told, at, scale)
    else:
        raise at.missing("query", "a row has `query` and `models`, or `text` and `outcomes`")
    row_id = _key(told, "id", at) or unnamed
    return Recorded(
        id=row_id,
        text=text,
        cluster=_key(told, "split_key", at) or row_id,
        outcomes=outcomes,
        input_tokens=_tokens(told, "in_tok", "in_tok", at),
        task_class=_key(told, "task_class", at),
        dataset=_key(told, "dataset", at),
        answers=_kept_answers(told, at),
    )


def _models(told: Mapping[str, Any], at: _Field, scale: float) -> Mapping[str, Outcome]:
    models = _mapping(told, "models", at)
    found: dict[str, Outcome] = {}
    for name, answer in models.items():
        path = f"models.{name}"
        if not isinstance(answer, dict):
            raise at.wrong(path, answer, 'an object such as {"score": 1, "out_tok": 120}')
        mark = "score_fixed" if answer.get("score_fixed") is not None else "score"
        if answer.get(mark) is None:
            raise at.missing(f"{path}.score", "every model of a row needs its score (or score_fixed)")
        found[name] = Outcome(
            quality=_quality(answer[mark], f"{path}.{mark}", at, scale),
            output_tokens=_tokens(answer, "out_tok", f"{path}.out_tok", at),
            input_tokens=_tokens(answer, "in_tok", f"{path}.in_tok", at),
            usd=_usd(answer.get("usd"), f"{path}.usd", at),
            final=_final(answer.get("pred")),
        )
    return found


def _outcomes(told: Mapping[str, Any], at: _Field, scale: float) -> Mapping[str, Outcome]:
    given = _mapping(told, "outcomes", at)
    return {name: Outcome(quality=_quality(value, f"outcomes.{name}", at, scale)) for name, value in given.items()}


def _final(found: object) -> str | None:
    return str(found) if isinstance(found, str | int | float) and not isinstance(found, bool) and found != "" else None


def _kept_answers(told: Mapping[str, Any], at: _Field) -> Mapping[str, str]:
    found = told.get("answers")
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise at.wrong("answers", found, "an object of texts, one per model")
    return found


def _mapping(told: Mapping[str, Any], name: str, at: _Field) -> Mapping[str, Any]:
    found = told.get(name)
    if found is None:
        raise at.missing(name, "it says how well each model answered")
    if not isinstance(found, dict) or not found:
        raise at.wrong(name, found, "an object with at least one model")
    return found


def _text(told: Mapping[str, Any], name: str, at: _Field) -> str:
    found = told.get(name)
    if found is None:
        raise at.missing(name, "every row needs its text")
    if not isinstance(found, str) or len(found) > MOST_CHARACTERS:
        raise at.wrong(name, found, f"a text of at most {MOST_CHARACTERS:,} characters")
    return found


def _key(told: Mapping[str, Any], name: str, at: _Field) -> str | None:
    found = told.get(name)
    if found is not None and (not isinstance(found, str | int) or isinstance(found, bool)):
        raise at.wrong(name, found, "a text or a whole number")
    return None if found is None else str(found)


def _quality(found: object, name: str, at: _Field, scale: float) -> float:
    value = _number(found)
    if value is None or not 0 <= value <= scale:
        more = "" if value is None or value < 0 else "; if these are marks out of more, say so with --scale"
        raise at.wrong(name, found, f"a number from 0 to {scale:g}{more}")
    return value / scale


def _tokens(told: Mapping[str, Any], key: str, name: str, at: _Field) -> int | None:
    value = told.get(key)
    if value is None:
        return None
    number = _number(value)
    if number is None or number != int(number) or not 0 <= number <= _MOST_TOKENS:
        raise at.wrong(name, value, f"a whole number of tokens from 0 to {_MOST_TOKENS:,}")
    return int(number)


def _usd(value: object, name: str, at: _Field) -> float | None:
    if value is None:
        return None
    number = _number(value)
    if number is None or not 0 <= number <= _MOST_USD:
        raise at.wrong(name, value, f"a number of dollars from 0 to {_MOST_USD:,.0f}")
    return number


def _number(value: object) -> float | None:
    """True and False count as 1 and 0: many sets mark answers so."""
    if not isinstance(value, int | float):
        return None
    number = float(value)  # orjson turns what does not fit 64 bits into a float itself
    return number if isfinite(number) else None
