"""Small language models: turns in, text out, piece by piece where asked; a JSON schema constrains what is written.

GGUF runs on llama.cpp, safetensors on transformers; both answer alike. It stores nothing and calls no server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from registry.schema import Card, Engine
from registry.weights import DamagedWeights, Placed, verify
from workers.generate.asked import read, safer
from workers.generate.prompt import fitted
from workers.generate.writer import Job, Writer, Written
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError

if TYPE_CHECKING:
    from workers.constrain import Constraint

__all__ = ["infer", "load", "safer"]

ANSWER_SHARE = 4  # turns are dropped until an answer has a quarter of the context, or max_tokens if that is less
SCHEMA_SHARE = 2  # what a schema constrains must end: at most half of the context, all of it kept free


def load(card: Card, machine: Machine) -> Writer:
    """Raises WorkerError: `model_not_found` without weights, `model_load_failed` for damaged ones, `invalid_config`
    for a form of weights that no engine here reads."""
    found = machine.placed(card)
    if found is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    try:
        verify(card, found.folder, allow_pickle=machine.allow_pickle)
        return _load(card, found, machine)
    except DamagedWeights as error:
        raise WorkerError(Code.MODEL_LOAD_FAILED, str(error)) from error


def infer(loaded: Writer, batch: Batch) -> list[Result | WorkerError]:
    """{"text", "finish_reason", "tokens", "output_tokens", "mean_logprob", "dropped_turns"}, one per item.

    Options: temperature 0.3, top_p 0.95, top_k, seed, stop, max_tokens 2048, schema, stream. `max_tokens` is a bound:
    what is left of the context may be less. `dropped_turns`: how many of the oldest turns had no room. With a schema
    the text is JSON that fits it, and the item fails where it is not.
    """
    jobs: list[Job] = []
    found: dict[int, Result | WorkerError] = {}
    dropped: dict[int, int] = {}
    for number, item in enumerate(batch.items):
        try:
            job, dropped[number] = _job(loaded, number, item)
            jobs.append(job)
        except WorkerError as error:
            found[number] = error
    for job, written in zip(jobs, loaded.write(jobs, batch) if jobs else (), strict=True):
        found[job.number] = _result(job, written, dropped[job.number])
    return [found[number] for number in range(len(batch.items))]


def _load(card: Card, found: Placed, machine: Machine) -> Writer:
    engine, options = _engine(found), found.variant.runtime if found.variant else {}
    if engine is Engine.LLAMA_CPP:
        from workers.generate.llama import load_llama  # noqa: PLC0415 - for who has a GGUF model

        return load_llama(_gguf_file(card, found), options, machine, card.context_tokens)
    if engine is Engine.TRANSFORMERS:
        from workers.generate.torch_load import load_torch  # noqa: PLC0415 - torch is a second and 400 MB

        return load_torch(found.folder, options, machine, card.context_tokens)
    raise WorkerError(
        Code.INVALID_CONFIG, f"{card.id}: a language model runs on llama.cpp or transformers, not {engine}"
    )


def _engine(found: Placed) -> Engine | None:
    """What the variant says; for a folder that no card describes, what lies in it."""
    if found.variant is not None:
        return found.variant.runs_on
    return Engine.LLAMA_CPP if any(found.folder.glob("*.gguf")) else Engine.TRANSFORMERS


def _gguf_file(card: Card, found: Placed) -> Path:
    """The one the variant names (of several parts the first: llama.cpp finds the others), or the only one there."""
    named = [file for file in (found.variant.files or () if found.variant else ()) if file.endswith(".gguf")]
    files = [found.folder / file for file in named] or sorted(found.folder.glob("*.gguf"))
    if not files:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"{card.id}: {found.folder} holds no .gguf file")
    return files[0]


def _job(model: Writer, number: int, item: Item) -> tuple[Job, int]:
    """Raises WorkerError before anything is written."""
    asked = read(item)
    most = asked.max_tokens
    if asked.schema is not None and model.shares_context:
        most = min(most, model.context_tokens // SCHEMA_SHARE)
    constraint = _constraint(asked.schema, most) if asked.schema is not None else None
    prompt = fitted(asked.turns, model.read, model.context_tokens - _kept_free(model, most, constraint))
    if model.shares_context:
        most = min(most, model.context_tokens - len(prompt.tokens))
    stop = () if constraint else (*asked.stop, *model.plain_stop)
    job = Job(number=number, asked=asked, tokens=prompt.tokens, max_tokens=most, stop=stop, constraint=constraint)
    return job, prompt.dropped_turns


def _kept_free(model: Writer, most: int, constraint: Constraint | None) -> int:
    """Tokens of the context that the prompt may not take."""
    if not model.shares_context:
        return 0
    return constraint.most_tokens if constraint else min(most, model.context_tokens // ANSWER_SHARE)


def _constraint(schema: Mapping[str, object], max_tokens: int) -> Constraint:
    from workers.constrain import compile_schema  # noqa: PLC0415 - its libraries are for calls with a schema

    return compile_schema(schema, max_tokens)


def _result(job: Job, written: Written | WorkerError, dropped_turns: int) -> Result | WorkerError:
    if isinstance(written, WorkerError):
        return written
    if job.constraint is not None and (told := _unfit(job.constraint, written)):
        return told
    return {
        "text": written.text,
        "finish_reason": written.finish_reason,
        "tokens": len(job.tokens),
        "output_tokens": written.output_tokens,
        "mean_logprob": written.mean_logprob,
        "dropped_turns": dropped_turns,
    }


def _unfit(constraint: Constraint, written: Written) -> WorkerError | None:
    """Constrained text is read once more before it is handed on: a promise is kept or broken aloud."""
    try:
        constraint.parse(written.text)
    except (WorkerError, ValueError) as error:
        cut = " (cut for length)" if written.finish_reason == "length" else ""
        return WorkerError(Code.INFERENCE_FAILED, f"the model's text does not fit the schema{cut}: {error}")
    return None
