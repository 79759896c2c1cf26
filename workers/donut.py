"""Donut: a page in, marked text out, by transformers and torch; it knows no file and no caller.

G. Kim et al., "OCR-free Document Understanding Transformer", arXiv 2111.15664: a Swin encoder sees the page, an
MBart decoder writes, begun by a prompt of marks that says what to write. Import it only to load a model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import DonutProcessor, VisionEncoderDecoderModel
from transformers.utils import logging as transformers_logging

from workers.modality import Machine
from workers.swin import Pauses, work_in_pieces

QUESTION = "<s_docvqa><s_question>{}</s_question><s_answer>"
QUESTION_MARKS = ("<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>")
PARSE_MARKS = ("<s_cord-v2>", "<s_rvlcdip>")
"""First marks of Donut's published fine-tunes that need no question: receipts, kinds of documents."""
_MARK = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What the model wrote. `text` has its marks, the prompt's too; `confidence` is the geometric mean of the tokens'
    probabilities; `cut`: it had no end within the model's positions."""

    text: str
    tokens: int
    confidence: float
    cut: bool

    @property
    def plain(self) -> str:
        """Without any mark, and without what was asked."""
        asked, mark, answer = self.text.partition("<s_answer>")
        return " ".join(_MARK.sub(" ", answer if mark else asked).split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Donut:
    """A loaded model. `positions`: prompt and text together in tokens. `marks`: the words of its own."""

    model: Any
    processor: Any
    pauses: Pauses
    positions: int
    marks: frozenset[str]

    @property
    def answers(self) -> bool:
        return self.marks.issuperset(QUESTION_MARKS)

    @property
    def parse_mark(self) -> str | None:
        """What this model is begun with where nobody asks, None where it knows no such task."""
        return next((mark for mark in PARSE_MARKS if mark in self.marks), None)

    def prompt(self, text: str) -> list[int]:
        """The tokens of a prompt; marks in it are read as marks."""
        found: list[int] = self.processor.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def write(self, page: Image.Image, prompt: list[int], check: Callable[[], None], most_tokens: int) -> Written:
        """Greedy, as Donut's authors decode. `check` is called while the page is seen and between tokens; it may
        raise."""
        self.pauses.check = check
        tokenizer = self.processor.tokenizer
        pixels = self.processor.image_processor(page, return_tensors="pt")["pixel_values"].to(self.model.device)
        tokens, past = list(prompt), None
        logprobs: list[float] = []
        with torch.inference_mode():
            seen = self.model.encoder(pixels)
            while len(tokens) < self.positions and len(logprobs) < most_tokens:
                check()
                given = torch.tensor([tokens[-1:] if past else tokens], device=self.model.device)
                found = self.model(encoder_outputs=seen, decoder_input_ids=given, past_key_values=past, use_cache=True)
                past = found.past_key_values
                likely = found.logits[0, -1].float().log_softmax(-1)
                likely[tokenizer.unk_token_id] = -torch.inf
                tokens.append(int(likely.argmax()))
                logprobs.append(float(likely[tokens[-1]]))
                if tokens[-1] == tokenizer.eos_token_id:
                    break
        ended = tokens[-1] == tokenizer.eos_token_id
        return Written(
            text=tokenizer.decode(tokens[:-1] if ended else tokens),
            tokens=len(logprobs),
            confidence=math.exp(sum(logprobs) / len(logprobs)),
            cut=not ended,
        )

    def data(self, written: Written) -> Any:
        """The marks as JSON: objects of what stands between <s_name> and </s_name>, lists at <sep/>."""
        return self.processor.token2json(_MARK.sub("", written.text, count=1))


def open_donut(folder: Path, machine: Machine) -> Donut:
    """From the files of the hub. Pickled weights only where the machine allows them."""
    transformers_logging.disable_progress_bar()  # a worker's log is no terminal
    torch.set_num_threads(machine.threads)
    model = VisionEncoderDecoderModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=None if machine.allow_pickle else True, dtype=torch.float32
    )
    work_in_pieces(model.encoder, pauses := Pauses())
    processor = DonutProcessor.from_pretrained(folder, local_files_only=True)
    return Donut(
        model=model.to(machine.device).eval(),
        processor=processor,
        pauses=pauses,
        positions=int(model.config.decoder.max_position_embeddings),
        marks=frozenset(processor.tokenizer.get_added_vocab()),
    )
