"""A transcript's segments as subtitles, SubRip (.srt) or WebVTT (.vtt); pure text, no times of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def srt(segments: Iterable[Mapping[str, Any]]) -> str:
    """SubRip: numbered from 1, `00:01:02,345 --> …`. A segment has `start` and `end` in seconds and `text`."""
    blocks = (
        f"{number}\n{_clock(each['start'], ',')} --> {_clock(each['end'], ',')}\n{_lines(each['text'])}\n"
        for number, each in enumerate(segments, start=1)
    )
    return "\n".join(blocks)


def vtt(segments: Iterable[Mapping[str, Any]]) -> str:
    """WebVTT (W3C): its header, then one cue a segment; `&`, `<` and `>` are escaped as its cue text asks."""
    blocks = (
        f"{_clock(each['start'], '.')} --> {_clock(each['end'], '.')}\n{_escaped(_lines(each['text']))}\n"
        for each in segments
    )
    return "\n".join(("WEBVTT\n", *blocks))


def _clock(seconds: float, point: str) -> str:
    millis = round(seconds * 1000)
    minutes, millis = divmod(millis, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{millis // 1000:02}{point}{millis % 1000:03}"


def _lines(text: str) -> str:
    """An empty line would end the cue."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
