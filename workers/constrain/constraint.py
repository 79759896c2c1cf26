"""A compiled schema: the grammar for each engine, and the reading of what was written under it.

It loads no model; llguidance is imported when a processor is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.constrain.bounding import bounded_grammar
from workers.constrain.reading import validator_of
from workers.modality import Code, WorkerError

if TYPE_CHECKING:
    from workers.constrain.mask import TokenMask


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """What keeps an answer inside a schema. `most_tokens`: no answer takes more, its end token included."""

    schema: Mapping[str, Any] = field(repr=False)
    max_tokens: int
    most_tokens: int
    llama_grammar: str = field(repr=False)
    """For llama.cpp's `grammar`: Lark for llguidance, with which the llama.cpp in xllamacpp is built."""

    def processor(self, tokenizer: Any) -> TokenMask:
        """A logits processor for `generate` of transformers, good for one call (any number of rows, no beams).
        `tokenizer` must be a fast one. Raises WorkerError `invalid_config` where it cannot write JSON, or where
        llguidance is not installed."""
        try:
            from workers.constrain.mask import TokenMask  # noqa: PLC0415 - torch is for those who generate with it
        except ImportError as error:
            raise WorkerError(
                Code.INVALID_CONFIG, f"structured output needs {error.name}; run `pip install 'pennyroute[torch]'`"
            ) from error
        return TokenMask(self.llama_grammar, tokenizer)

    def parse(self, text: str) -> Any:
        """The value of an answer. Raises WorkerError `inference_failed` where it is cut short or does not fit."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise WorkerError(
                Code.INFERENCE_FAILED, f"the constrained answer is no JSON ({error}): {text[:80]!r}; ask again"
            ) from error
        problem = next(iter(validator_of(self.schema).iter_errors(value)), None)
        if problem is not None:
            raise WorkerError(
                Code.INFERENCE_FAILED, f"the constrained answer does not fit at {problem.json_path}: {problem.message}"
            )
        return value


def compile_schema(schema: Mapping[str, Any], max_tokens: int) -> Constraint:
    """A constraint under which every answer fits `schema` and ends within `max_tokens`, its end token included.

    Raises WorkerError `invalid_input`, before anything is generated: not a JSON schema, a keyword that cannot be
    followed (named with its path), nothing fits the schema, or `max_tokens` is too small (named with what is needed).
    """
    try:
        grammar, most_bytes = bounded_grammar(schema, max_tokens - 1)
    except RecursionError as error:
        raise WorkerError(
            Code.INVALID_INPUT, "the schema is nested too deeply for structured output; use fewer levels"
        ) from error
    return Constraint(schema=schema, max_tokens=max_tokens, most_tokens=most_bytes + 1, llama_grammar=grammar)
