"""Writers that know nothing and obey a constraint: random bytes, and tiny models with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import llguidance
import numpy as np
import torch
import transformers
import xllamacpp
from jsonschema import Draft202012Validator

from tests.tiny.llm import MODELS
from workers.constrain import Constraint

PROMPT = "Answer in JSON."
Write = Callable[[Constraint, int, float], tuple[str, str, int]]
"""Constraint, seed, temperature → text, finish reason (stop or length), tokens with the end token."""

_BYTES = llguidance.LLTokenizer("byte")


def at_random(constraint: Constraint, seed: int, temperature: float = 1.0) -> tuple[str, str, int]:
    """Any byte that may come next, each as likely as the others: the dullest model there is, one token a byte."""
    draw, written = Random(seed), bytearray()  # noqa: S311 - repeatable, not secret
    matcher = llguidance.LLMatcher(_BYTES, constraint.llama_grammar)
    while len(written) < constraint.max_tokens and not matcher.is_stopped():
        allowed = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little").nonzero()[
            0
        ]
        assert allowed.size, f"a dead end after {bytes(written)!r}: {matcher.get_error()[:200]}"
        token = int(draw.choice(allowed.tolist()))
        if token == _BYTES.eos_token:
            break
        assert matcher.consume_token(token), matcher.get_error()
        written.append(token)
    finish = "stop" if len(written) < constraint.max_tokens else "length"
    return written.decode(), finish, len(written) + 1


def fault(constraint: Constraint, text: str, finish: str, tokens: int) -> str | None:
    """Why an answer counts as a failure, by jsonschema alone; None where it fits."""
    if finish != "stop":
        return f"finished by {finish}"
    if tokens > constraint.most_tokens:
        return f"took {tokens} tokens, {constraint.most_tokens} were promised"
    try:
        errors = list(Draft202012Validator(dict(constraint.schema)).iter_errors(json.loads(text)))
    except ValueError as error:
        return f"no JSON: {error}"
    return errors[0].message[:200] if errors else None


@contextmanager
def llama_cpp(folder: Path) -> Iterator[Write]:
    """llama.cpp's own server in this process, with a tiny GGUF written into `folder`."""
    MODELS["llama-3.2-3b-instruct"](folder)
    params = xllamacpp.CommonParams()
    params.model.path = str(next(folder.glob("*.gguf")))
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 1, 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)

    def write(constraint: Constraint, seed: int, temperature: float) -> tuple[str, str, int]:
        asked = {"prompt": PROMPT, "n_predict": constraint.max_tokens, "temperature": temperature, "seed": seed}
        free = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "grammar": constraint.llama_grammar}
        answer = server.handle_completions(asked | free)
        choice = answer["choices"][0]
        return choice["text"], choice["finish_reason"], answer["usage"]["completion_tokens"]

    yield write


@contextmanager
def transformers_model(folder: Path, card: str) -> Iterator[Write]:
    """A tiny model in safetensors written into `folder`, generated with `generate` and the constraint's processor."""
    torch.set_num_threads(1)
    MODELS[card](folder)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = tokenizer(PROMPT, return_tensors="pt")

    def write(constraint: Constraint, seed: int, temperature: float) -> tuple[str, str, int]:
        torch.manual_seed(seed)
        rows = model.generate(
            **prompt,
            max_new_tokens=constraint.max_tokens,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            pad_token_id=tokenizer.eos_token_id,
            logits_processor=[constraint.processor(tokenizer)],
        )
        tokens = rows[0][prompt["input_ids"].shape[1] :].tolist()
        finish = "stop" if tokens[-1] == tokenizer.eos_token_id else "length"
        return tokenizer.decode(tokens, skip_special_tokens=True), finish, len(tokens)

    yield write
