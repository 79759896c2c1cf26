"""Where in a recording somebody speaks, by Silero's voice detector (it comes inside faster-whisper); writes no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from workers.listening.recording import RATE_HZ, Samples

SHORTEST_PAUSE_MS = 1000  # shorter ones stay inside a part: a speaker breathes
PADDING_MS = 200  # kept on both sides of a part: soft first and last sounds lie below the detector's threshold
LONGEST_PART_S = 30.0  # one window of Whisper; speech without a pause is cut at its quietest moment
BLOCK_S = 120.0  # read, searched and transcribed at once: 8 MB of samples, however long the recording

Part = dict[str, int]
"""`start` and `end` in samples, as faster-whisper writes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """A stretch of a recording that begins at sample `offset`, cut between two parts of speech where there are any.
    `parts` are the stretches of `samples` in which somebody speaks."""

    offset: int
    samples: Samples
    parts: tuple[Part, ...]

    @property
    def spoken(self) -> Samples:
        """The parts alone, one behind the other."""
        return np.concatenate([self.samples[part["start"] : part["end"]] for part in self.parts])

    @property
    def offset_s(self) -> float:
        return self.offset / RATE_HZ


def chunks(blocks: Iterable[Samples], check: Callable[[], None]) -> Iterator[Chunk]:
    """The recording from its first to its last sample. What is spoken across the end of a block begins the next
    chunk. `check` is called before each block and may raise."""
    held, offset = np.zeros(0, dtype=np.float32), 0
    for block, is_last in _told_last(blocks):
        check()
        samples = np.concatenate([held, block])
        parts = speech_parts(samples)
        end = samples.size
        if not is_last and parts and parts[-1]["end"] == samples.size:
            end = parts.pop()["start"]
        yield Chunk(offset=offset, samples=samples[:end], parts=tuple(parts))
        held, offset = samples[end:], offset + end


def speech_parts(samples: Samples) -> list[Part]:
    """In order, not overlapping, none longer than LONGEST_PART_S; empty for silence and for noise."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps  # noqa: PLC0415 - only audio workers have it

    options = VadOptions(
        min_silence_duration_ms=SHORTEST_PAUSE_MS, speech_pad_ms=PADDING_MS, max_speech_duration_s=LONGEST_PART_S
    )
    return list(get_speech_timestamps(samples, options))


def _told_last(blocks: Iterable[Samples]) -> Iterator[tuple[Samples, bool]]:
    waiting: Samples | None = None
    for block in blocks:
        if waiting is not None:
            yield waiting, False
        waiting = block
    if waiting is not None:
        yield waiting, True
