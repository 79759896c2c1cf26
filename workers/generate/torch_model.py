"""Language models in transformers: a batch of answers in one forward pass, decoder-only or encoder and decoder."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from jinja2.exceptions import TemplateError
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from workers.generate.prompt import PLAIN_STOP, TemplateRefused, bare, defused, plain, rendered
from workers.generate.rows import EverybodyLeft, Row, Rows
from workers.generate.spoken import Spoken, TokenBytes
from workers.generate.writer import Job, Written
from workers.modality import Batch, Code, Turn, WorkerError

MOST_ROWS = 8  # in one forward pass


class TorchModel:
    """A `Writer`. `pool` is how many tokens, prompts and answers, may be in one forward pass's cache."""

    def __init__(self, model: Any, tokenizer: Any, *, context_tokens: int, pool: int, ends: frozenset[int]) -> None:
        self._model, self._tokenizer, self._pool, self._ends = model, tokenizer, pool, ends
        self._bytes = TokenBytes(tokenizer)
        added = tokenizer.added_tokens_decoder.values()
        self._controls = frozenset(str(token.content) for token in added if token.special)
        self.context_tokens = context_tokens
        self.shares_context = not model.config.is_encoder_decoder
        has_words = tokenizer.chat_template is not None or not self.shares_context
        self.plain_stop: tuple[str, ...] = () if has_words else (PLAIN_STOP,)
        # What the publisher would sample with is not asked for; ours is the same for every model.
        self._pad = _pad(tokenizer, ends)
        self._facts = {"do_sample": False, "pad_token_id": self._pad, **_start(model)}
        model.generation_config = GenerationConfig(**self._facts)

    def close(self) -> None:
        self._model = self._tokenizer = self._bytes = None  # type: ignore[assignment]
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def read(self, turns: Sequence[Turn]) -> list[int]:
        said = defused(turns, self._controls)
        if self._tokenizer.chat_template is not None:
            text = rendered(said, self._template)
        else:
            text = plain(said) if self.shares_context else bare(said)
        first = self._tokenizer.bos_token
        has_first = bool(first) and text.startswith(first)
        tokens: list[int] = self._tokenizer(text, add_special_tokens=not has_first, verbose=False)["input_ids"]
        if not tokens:
            raise WorkerError(Code.INVALID_INPUT, "the prompt is empty; say something to the model")
        return tokens

    def _template(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise TemplateRefused(str(error)) from error
        return str(text)

    def write(self, jobs: Sequence[Job], batch: Batch) -> list[Written | WorkerError]:
        found: dict[int, Written | WorkerError] = {}
        for group in self._groups(jobs):
            rows = []
            for job in group:
                try:
                    rows.append(self._row(job))
                except WorkerError as error:  # a tokenizer that cannot write what its constraint asks
                    found[job.number] = error
            if rows:
                self._run(rows, Rows(rows, batch, self._bytes, self._ends))
            found |= {row.job.number: row.outcome() for row in rows}
        return [found[job.number] for job in jobs]

    def _groups(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """Like lengths together: a row is padded to the longest prompt of its group and runs as long as the longest
        answer."""
        group: list[Job] = []
        for job in sorted(jobs, key=lambda job: len(job.tokens)):
            most = max(each.max_tokens for each in (*group, job))
            if group and (len(group) == MOST_ROWS or (len(group) + 1) * (len(job.tokens) + most) > self._pool):
                yield group
                group = []
            group.append(job)
        if group:
            yield group

    def _row(self, job: Job) -> Row:
        generator = None
        if job.asked.temperature > 0:
            generator = torch.Generator()
            if job.asked.seed is None:
                generator.seed()
            else:
                generator.manual_seed(job.asked.seed)
        return Row(
            job=job,
            spoken=Spoken(job.stop, self._bytes.leads_with_space),
            generator=generator,
            mask=job.constraint.processor(self._tokenizer) if job.constraint else None,
        )

    def _run(self, rows: Sequence[Row], talk: Rows) -> None:
        ids, mask = self._padded([row.job.tokens for row in rows])
        most = max(row.job.max_tokens for row in rows)
        with suppress(EverybodyLeft), torch.inference_mode(), _between_layers(self._model, talk):
            self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=GenerationConfig(**self._facts, max_new_tokens=most),
                logits_processor=LogitsProcessorList([talk.choose]),
                stopping_criteria=StoppingCriteriaList([talk.look]),
            )

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows, longest): decoders are padded on the left, since they write on from the right."""
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, prompt in enumerate(prompts):
            place = slice(width - len(prompt), width) if self.shares_context else slice(0, len(prompt))
            ids[number, place] = torch.tensor(prompt)
            mask[number, place] = 1
        return ids.to(self._model.device), mask.to(self._model.device)


@contextmanager
def _between_layers(model: Any, talk: Rows) -> Iterator[None]:
    """A long prompt is one long forward pass: it is looked up from between its layers."""
    layers = [layer for each in model.modules() if isinstance(each, torch.nn.ModuleList) for layer in each]
    hooks = [layer.register_forward_pre_hook(lambda *_: talk.check()) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _pad(tokenizer: Any, ends: frozenset[int]) -> int:
    """What stands where nothing is read; any token will do."""
    pad = tokenizer.pad_token_id
    return int(pad) if pad is not None else min(ends, default=0)


def _start(model: Any) -> dict[str, int]:
    """The token that a decoder of its own begins with."""
    places = (model.generation_config, model.config)
    told = next(
        (start for each in places if (start := getattr(each, "decoder_start_token_id", None)) is not None), None
    )
    return {} if told is None else {"decoder_start_token_id": int(told)}
