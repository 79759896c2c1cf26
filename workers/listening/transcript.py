"""What Whisper hears in the spoken parts of a recording, chunk by chunk; it decodes no file and loads no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.listening.recording import RATE_HZ
from workers.listening.speech import Chunk

TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # Whisper's own ladder: a window that fails is tried a step hotter
CERTAIN_UNTIL = 0.5  # text written at a higher temperature is no context for what follows (Whisper's own bound)
MOST_TOKENS = 220  # of a window's text: with as much context and the prompt's marks the 448 positions are full
CONTEXT_TOKENS = 220


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a caller asks of a recording, checked. `hint` holds names and spellings to expect."""

    language: str | None = None
    words: bool = False
    translate: bool = False
    temperatures: tuple[float, ...] = TEMPERATURES
    beam_size: int = 5
    hint: str | None = None


@dataclass(kw_only=True, slots=True)
class Transcript:
    """What was heard so far, in seconds of the recording. `language` is None until somebody has spoken."""

    language: str | None = None
    language_probability: float | None = None
    segments: list[dict[str, Any]] = field(default_factory=list)
    speech: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    context: list[int] = field(default_factory=list)
    """The last tokens that were written with certainty."""

    @property
    def text(self) -> str:
        return " ".join(segment["text"] for segment in self.segments)


def transcribe(
    model: Any, chunk: Chunk, wish: Wish, transcript: Transcript, check: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """Adds what is spoken in `chunk` to `transcript`, and yields each segment as it is found.

    `model` is a faster_whisper.WhisperModel. `check` is called before each try of a window and may raise.
    """
    from faster_whisper.transcribe import restore_speech_timestamps  # noqa: PLC0415 - only audio workers have it

    transcript.speech += [_span(chunk, part["start"] / RATE_HZ, part["end"] / RATE_HZ) for part in chunk.parts]
    found, told = model.transcribe(
        chunk.spoken,
        language=transcript.language,
        task="translate" if wish.translate else "transcribe",
        beam_size=wish.beam_size,
        temperature=_Asked(wish.temperatures, check),
        initial_prompt=transcript.context or wish.hint,
        word_timestamps=wish.words,
        max_new_tokens=MOST_TOKENS,
    )
    if transcript.language is None:
        transcript.language, transcript.language_probability = told.language, round(told.language_probability, 4)
    for segment in restore_speech_timestamps(found, list(chunk.parts), RATE_HZ):
        transcript.tokens += len(segment.tokens)
        certain = segment.temperature <= CERTAIN_UNTIL
        transcript.context = [*transcript.context, *segment.tokens][-CONTEXT_TOKENS:] if certain else []
        transcript.segments.append(_segment(chunk, segment, words=wish.words))
        yield transcript.segments[-1]


class _Asked(list[float]):
    """Temperatures that ask before each is tried whether to go on: faster-whisper walks them for every window, and
    CTranslate2 shows nothing between two tokens."""

    def __init__(self, temperatures: Sequence[float], check: Callable[[], None]) -> None:
        super().__init__(temperatures)
        self._check = check

    def __iter__(self) -> Iterator[float]:
        for temperature in super().__iter__():
            self._check()
            yield temperature


def _segment(chunk: Chunk, segment: Any, *, words: bool) -> dict[str, Any]:
    confidence = round(min(1.0, math.exp(segment.avg_logprob)), 4)
    told = _span(chunk, segment.start, segment.end) | {"text": segment.text.strip(), "confidence": confidence}
    if words:
        told["words"] = [
            _span(chunk, word.start, word.end)
            | {"word": word.word.strip(), "confidence": round(float(word.probability), 4)}
            for word in segment.words or ()
        ]
    return told


def _span(chunk: Chunk, start_s: float, end_s: float) -> dict[str, float]:
    """Whisper fills its window up to 30 s and may name a moment after the last word: held to where speech ends."""
    latest = chunk.offset_s + chunk.parts[-1]["end"] / RATE_HZ
    start = min(chunk.offset_s + float(start_s), latest)
    end = min(chunk.offset_s + float(end_s), latest)
    return {"start": round(start, 3), "end": round(max(start, end), 3)}
