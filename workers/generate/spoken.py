"""Tokens as text, piece by piece: never half a character, never a part of a stop string; it knows no model."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class TokenBytes:
    """The bytes of each token of a fast tokenizer. Special tokens have none: they are not said."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: one of transformers'. It must be a fast one."""
        raw = json.loads(tokenizer.backend_tokenizer.to_str())
        self._byte_level = "ByteLevel" in json.dumps(raw.get("decoder"))
        self._added = {each["id"]: each for each in raw.get("added_tokens", ())}
        self._tokenizer = tokenizer

    def __call__(self, token: int) -> bytes:
        if added := self._added.get(token):
            return b"" if added["special"] else str(added["content"]).encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""  # an id beyond the vocabulary: the output layer is padded
        if self._byte_level:
            return bytes(_BYTES[character] for character in piece if character in _BYTES)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode()

    @property
    def leads_with_space(self) -> bool:
        """SentencePiece writes a space before the first word too; it belongs to no answer."""
        return not self._byte_level


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: each byte as a character that can be printed (openai/gpt-2, encoder.py)."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + number): byte for number, byte in enumerate(others)}


_BYTES = _byte_alphabet()


@dataclass(slots=True)
class Spoken:
    """The text of one answer as it grows. What might be the beginning of a stop string is held back."""

    stop: Sequence[str]
    strip_first_space: bool = False
    text: str = ""
    stopped: bool = False
    _held: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def add_bytes(self, data: bytes) -> str:
        """As `add`; what is no character yet waits for its other bytes."""
        return self.add(self._decoder.decode(data))

    def add(self, found: str) -> str:
        """The piece that can be said now; "" often. After `stopped` nothing more is to be added."""
        if self.strip_first_space and found:
            found, self.strip_first_space = found.removeprefix(" "), False
        self._held += found
        at = min((place for stop in self.stop if (place := self._held.find(stop)) >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            return self._say(at, keep=0)
        return self._say(len(self._held) - self._suspect())

    def rest(self) -> str:
        """What was held back and is the answer's end after all. A half character is left out."""
        return "" if self.stopped else self._say(len(self._held))

    def _say(self, end: int, keep: int | None = None) -> str:
        piece = self._held[:end]
        self._held = self._held[end:] if keep is None else ""
        self.text += piece
        return piece

    def _suspect(self) -> int:
        """Characters at the end that some stop string begins with."""
        longest = max((len(stop) - 1 for stop in self.stop), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self.stop):
                return length
        return 0
