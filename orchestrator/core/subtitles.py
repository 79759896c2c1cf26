"""Segments of speech as subtitle files, SubRip (srt) and WebVTT (vtt); it hears nothing and writes no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Segment = Mapping[str, Any]
"""What a transcription gives: `start` and `end` in seconds, `text`."""


def srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered cues, times as 00:00:01,500. Segments without text are left out; "" for none."""
    cues = (
        f"{number}\n{_clock(segment['start'], ',')} --> {_clock(segment['end'], ',')}\n{_lines(segment['text'])}\n"
        for number, segment in enumerate(_written(segments), start=1)
    )
    return "\n".join(cues)


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): times as 00:00:01.500; what would be read as markup is escaped."""
    cues = (
        f"{_clock(segment['start'], '.')} --> {_clock(segment['end'], '.')}\n{_escaped(_lines(segment['text']))}\n"
        for segment in _written(segments)
    )
    return "\n".join(["WEBVTT\n", *cues])


def _written(segments: Iterable[Segment]) -> list[Segment]:
    return [segment for segment in segments if segment["text"].strip()]


def _lines(text: str) -> str:
    """An empty line ends a cue and an arrow begins one, so neither may stand inside."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line).replace("-->", "→")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds, milliseconds; hours grow beyond two digits where they must."""
    milliseconds = max(0, round(seconds * 1000))
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
