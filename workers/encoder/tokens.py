"""Texts and pairs of texts to token ids, cut at the model's limit; it loads no framework and runs no model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

TEXTS_AT_ONCE = 64
Cut = Literal["longest_first", "only_first", "only_second"]
"""Which text of a pair gives way."""


class NoTokenizer(ValueError):
    """The folder has no files a tokenizer can be made of; the text names them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """What a model reads at once: int64 ids, and 1 in `types` where the second text of a pair is. `cut`: the text went
    on, and its rest was left out."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    cut: bool

    def __len__(self) -> int:
        return len(self.ids)


class Reader:
    """A tokenizer with its limit. Not safe in several threads at once: a worker runs one inference at a time."""

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        """`limit`: the longest input in tokens, special tokens included."""
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.limit = limit

    @property
    def size(self) -> int:
        """How many tokens it knows, added ones included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def read(self, texts: Sequence[str]) -> list[Tokens]:
        """The beginning of each text, as far as the model reads at once."""
        self._tokenizer.enable_truncation(self.limit)
        return [_tokens(encoding) for encoding in self._encoded(texts)]

    def read_whole(self, texts: Sequence[str]) -> list[list[Tokens]]:
        """Each text in as many windows as it takes; none is cut."""
        self._tokenizer.enable_truncation(self.limit)
        return [_windows(encoding) for encoding in self._encoded(texts)]

    def read_pairs(self, pairs: Sequence[tuple[str, str]], cut: Cut) -> list[Tokens]:
        """The text that does not give way must leave room for the other: see `length`."""
        self._tokenizer.enable_truncation(self.limit, strategy=cut)
        return [_tokens(encoding) for encoding in self._encoded(pairs)]

    def length(self, text: str) -> int:
        """Tokens of a text alone, without special tokens and without a limit."""
        self._tokenizer.no_truncation()
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _encoded(self, inputs: Sequence[str] | Sequence[tuple[str, str]]) -> Iterator[Encoding]:
        """Some at a time: an encoding takes a hundred times the memory of what we keep of it."""
        for start in range(0, len(inputs), TEXTS_AT_ONCE):
            yield from self._tokenizer.encode_batch(list(inputs[start : start + TEXTS_AT_ONCE]))


def _tokens(encoding: Encoding) -> Tokens:
    ids, types = (np.array(each, dtype=np.int64) for each in (encoding.ids, encoding.type_ids))
    return Tokens(ids=ids, types=types, cut=bool(encoding.overflowing))


def _windows(encoding: Encoding) -> list[Tokens]:
    return [replace(_tokens(each), cut=False) for each in (encoding, *encoding.overflowing)]


def read_tokenizer(folder: Path) -> Tokenizer:
    """From tokenizer.json, or from the older files a model was published with: vocab.txt (BERT's WordPiece) or
    vocab.json with merges.txt (RoBERTa's BPE). Raises NoTokenizer."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    if (folder / "vocab.txt").is_file():
        return _word_pieces(folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _byte_pairs(folder)
    raise NoTokenizer(f"{folder} has neither tokenizer.json nor vocab.txt nor vocab.json with merges.txt")


def _options(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _word_pieces(folder: Path) -> Tokenizer:
    options = _options(folder)
    tokenizer = Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))  # noqa: S106 - a word
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=options.get("do_lower_case", True),
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
        strip_accents=options.get("strip_accents"),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    first, last = (_id(tokenizer, mark, folder) for mark in ("[CLS]", "[SEP]"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", first), ("[SEP]", last)],
    )
    return tokenizer


def _byte_pairs(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    spaced = bool(_options(folder).get("add_prefix_space"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = decoders.ByteLevel()
    first, last = (_id(tokenizer, mark, folder) for mark in ("<s>", "</s>"))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", last), ("<s>", first), add_prefix_space=spaced)
    return tokenizer


def _id(tokenizer: Tokenizer, mark: str, folder: Path) -> int:
    place = tokenizer.token_to_id(mark)
    if place is None:
        raise NoTokenizer(f"the vocabulary in {folder} has no {mark}")
    return place
