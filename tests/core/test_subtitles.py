"""Subtitle files as players read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.subtitles import srt, vtt

SEGMENTS = [
    {"start": 0.0, "end": 2.5, "text": "Good morning."},
    {"start": 59.9996, "end": 3601.04, "text": " Fish & chips <now> "},
]


def test_srt_numbers_its_cues_and_writes_a_comma_before_the_milliseconds() -> None:
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:02,500\nGood morning.\n\n2\n00:01:00,000 --> 01:00:01,040\nFish & chips <now>\n"
    )


def test_vtt_has_its_header_and_escapes_markup() -> None:
    assert vtt(SEGMENTS) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nGood morning.\n\n"
        "00:01:00.000 --> 01:00:01.040\nFish &amp; chips &lt;now&gt;\n"
    )


def test_nothing_said_makes_an_empty_file() -> None:
    silence = [{"start": 1.0, "end": 2.0, "text": "  "}]
    assert (srt(silence), vtt(silence)) == ("", "WEBVTT\n")


def test_a_text_can_neither_end_its_cue_nor_begin_another() -> None:
    text = "one\n\n2\n00:00:05,000 --> 00:00:06,000\nforged"
    assert srt([{"start": 0.0, "end": 1.0, "text": text}]) == (
        "1\n00:00:00,000 --> 00:00:01,000\none\n2\n00:00:05,000 → 00:00:06,000\nforged\n"
    )


def test_hours_have_three_digits_when_they_must() -> None:
    assert srt([{"start": 360_000.0, "end": 360_000.001, "text": "late"}]) == (
        "1\n100:00:00,000 --> 100:00:00,001\nlate\n"
    )


@given(st.lists(st.tuples(st.floats(0, 1e6), st.text(max_size=40))))
def test_every_text_makes_exactly_one_cue(said: list[tuple[float, str]]) -> None:
    segments = [{"start": start, "end": start + 1, "text": text} for start, text in said]
    written = sum(bool(text.strip()) for _, text in said)
    assert srt(segments).count(" --> ") == vtt(segments).count(" --> ") == written
    assert len([cue for cue in srt(segments).split("\n\n") if cue]) == written
