"""Which tokens may come next, as a logits processor of transformers; it knows grammars, not schemas."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer

from workers.modality import Code, WorkerError

_NEEDED = frozenset(b'{}[]":,0123456789')  # what no JSON can be written without
_tokenizers: WeakKeyDictionary[Any, LLTokenizer] = WeakKeyDictionary()  # building one takes up to a second


class TokenMask:
    """Sets the logits of tokens that would leave the grammar to −inf. One row of `input_ids` is one answer; what
    stands in a row at the first call is its prompt."""

    def __init__(self, grammar: str, tokenizer: Any) -> None:
        self._tokenizer = _read(tokenizer)
        self._grammar = grammar
        self._rows: list[LLMatcher] = []
        self._seen = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`input_ids` (rows, tokens), `scores` (rows, vocabulary) → scores of the same shape."""
        if not self._rows:
            self._rows = [self._matcher() for _ in range(input_ids.shape[0])]
        else:
            for matcher, tokens in zip(self._rows, input_ids[:, self._seen :].tolist(), strict=True):
                _follow(matcher, tokens)
        self._seen = input_ids.shape[1]
        allowed = np.zeros(scores.shape, dtype=bool)
        for row, matcher in enumerate(self._rows):
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
            width = min(bits.size, scores.shape[1])
            allowed[row, :width] = bits[:width]
            if not allowed[row].any():
                raise WorkerError(Code.INFERENCE_FAILED, f"no token may follow: {matcher.get_error() or 'dead end'}")
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))

    def _matcher(self) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, self._grammar)
        if matcher.is_error():
            raise WorkerError(Code.INFERENCE_FAILED, f"the grammar was refused: {matcher.get_error()[:300]}")
        return matcher


def _follow(matcher: LLMatcher, tokens: list[int]) -> None:
    """After its end a row is padded by `generate`; that is not part of the answer."""
    for token in tokens:
        if not matcher.is_stopped() and not matcher.consume_token(token):
            raise WorkerError(Code.INFERENCE_FAILED, f"a token left the grammar: {matcher.get_error()[:300]}")


def _read(tokenizer: Any) -> LLTokenizer:
    if tokenizer not in _tokenizers:
        try:
            read = from_tokenizer(tokenizer)
        except ValueError as error:
            raise WorkerError(
                Code.INVALID_CONFIG,
                f"structured output cannot read this model's tokenizer ({error}); use another model",
            ) from error
        lacking = _NEEDED - {byte for token in range(read.vocab_size) for byte in _single(read, token)}
        if lacking:
            raise WorkerError(
                Code.INVALID_CONFIG,
                f"this model's tokenizer cannot write {bytes(sorted(lacking)).decode()!r}, so it cannot write JSON; "
                "use another model for structured output",
            )
        _tokenizers[tokenizer] = read
    return _tokenizers[tokenizer]


def _single(tokenizer: LLTokenizer, token: int) -> bytes:
    """The byte of a token that is one byte long."""
    data = b"" if tokenizer.is_special_token(token) else tokenizer.decode_bytes([token])
    return data if len(data) == 1 else b""
