"""Recordings through the whole of workers.audio: real speech and the real voice detector, a tiny Whisper with random
weights. What the detector hears is asserted; which words Whisper writes cannot be, without its weights."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import ctranslate2
import msgpack
import numpy as np
import pytest
from numpy.typing import NDArray

from registry.load import load
from registry.schema import Task
from tests.tiny.audio import MODELS
from workers import audio
from workers.listening.recording import RATE_HZ, Recording
from workers.listening.speech import chunks, speech_parts
from workers.modality import Batch, Code, Item, Machine, Picture, WorkerError

SPEECH = Path(__file__).parents[1] / "data" / "speech.ogg"
SPOKEN = ((1.0, 3.638), (5.638, 8.880), (11.880, 13.711))  # seconds, as tests/data/speech.NOTICE says
Sound = NDArray[np.int16]


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> audio.Listener:
    models_dir = tmp_path_factory.mktemp("models")
    (folder := models_dir / "faster-whisper-base").mkdir()
    MODELS["faster-whisper-base"](folder)
    return audio.load(load().get("faster-whisper-base"), Machine(models_dir=models_dir))


@pytest.fixture(autouse=True)
def same_dice() -> None:
    """Random weights are unsure, so Whisper samples at rising temperatures: by the same dice in each test."""
    ctranslate2.set_random_seed(11)


@pytest.fixture(scope="module")
def sound() -> Sound:
    """The recording's samples at RATE_HZ."""
    blocks = Recording(Picture(content_type="audio/ogg", data=SPEECH.read_bytes()), "speech").blocks(600)
    return (np.concatenate(list(blocks)) * 32768).astype(np.int16)


def silence(seconds: float) -> Sound:
    return np.zeros(int(seconds * RATE_HZ), dtype=np.int16)


def noise(seconds: float, loudness: float = 0.1) -> Sound:
    dice = np.random.default_rng(7)
    return (dice.normal(0, loudness, int(seconds * RATE_HZ)).clip(-1, 1) * 32767).astype(np.int16)


def encoded(sound: Sound, container: str, codec: str, *, rate: int = RATE_HZ, layout: str = "mono") -> bytes:
    """The sound as a file of this kind, made by FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound[None, :], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


def wav(sound: Sound) -> bytes:
    return encoded(sound, "wav", "pcm_s16le")


def hear(listener: audio.Listener, *files: bytes, query: str | None = None, **options: Any) -> Any:
    """One item; temperature 1 spares the five retries of a window that random weights never get right."""
    media = tuple(Picture(content_type="audio/x", data=data) for data in files)
    item = Item(media=media, query=query, options={"temperature": 1.0} | options)
    (result,) = audio.infer(listener, Batch(task=Task.TRANSCRIBE, items=(item,)))
    if not isinstance(result, WorkerError):
        msgpack.packb(result)  # what travels is numbers, texts, lists and tables of Python's own
    return result


def heard(listener: audio.Listener, data: bytes, **options: Any) -> Any:
    (found,) = hear(listener, data, **options)["results"]
    return found


def assert_spoken(speech: Sequence[dict[str, float]], expected: Sequence[tuple[float, float]]) -> None:
    """As many parts, each edge within 0.3 s: the detector looks at 32 ms at a time and 200 ms are kept around."""
    assert len(speech) == len(expected), speech
    for part, (start, end) in zip(speech, expected, strict=True):
        assert abs(part["start"] - start) < 0.3, (speech, expected)
        assert abs(part["end"] - end) < 0.3, (speech, expected)


# What the voice detector hears: its weights are real


def test_three_sentences_and_the_pauses_between_them_are_found(listener: audio.Listener) -> None:
    found = heard(listener, SPEECH.read_bytes())
    assert_spoken(found["speech"], SPOKEN)
    assert found["duration_s"] == pytest.approx(15.211, abs=0.01)


@pytest.mark.parametrize(
    ("container", "codec", "rate", "layout"),
    [
        ("wav", "pcm_s16le", 48_000, "stereo"),
        ("wav", "pcm_f32le", 44_100, "mono"),
        ("mp3", "libmp3lame", 44_100, "stereo"),
        ("ogg", "libopus", 48_000, "mono"),
        ("flac", "flac", 16_000, "mono"),
        ("ipod", "aac", 44_100, "stereo"),  # .m4a
        ("webm", "libopus", 48_000, "stereo"),
        ("adts", "aac", 22_050, "mono"),  # .aac
    ],
)
def test_each_kind_of_file_holds_the_same_speech(
    listener: audio.Listener, sound: Sound, container: str, codec: str, rate: int, layout: str
) -> None:
    found = heard(listener, encoded(sound, container, codec, rate=rate, layout=layout))
    assert_spoken(found["speech"], SPOKEN)
    assert found["duration_s"] == pytest.approx(15.211, abs=0.15)  # coders fill their last frame


def test_speech_is_found_under_noise_and_when_it_is_soft(listener: audio.Listener, sound: Sound) -> None:
    loud_room = (sound + noise(sound.size / RATE_HZ, 0.005)[: sound.size]).astype(np.int16)
    assert_spoken(heard(listener, wav(loud_room))["speech"], SPOKEN)
    assert_spoken(heard(listener, wav((sound // 8).astype(np.int16)))["speech"], SPOKEN)


def tone(hertz: float, seconds: float) -> Sound:
    return (np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ) * 9000).astype(np.int16)


@pytest.mark.parametrize(
    "quiet",
    [silence(5), silence(0.01), noise(5), noise(5, 0.003), tone(440, 5), tone(60, 5)],
    ids=["silence", "a hundredth of a second", "noise", "soft noise", "whistle", "hum"],
)
def test_where_nobody_speaks_the_text_is_empty_and_no_error(listener: audio.Listener, quiet: Sound) -> None:
    assert heard(listener, wav(quiet)) == {
        "text": "",
        "language": None,
        "language_probability": None,
        "duration_s": round(quiet.size / RATE_HZ, 3),
        "segments": [],
        "speech": [],
    }


def test_a_long_recording_is_cut_in_pauses_and_no_sample_is_lost(sound: Sound) -> None:
    long = np.concatenate([sound, silence(7), sound, sound, noise(20, 0.002), sound]).astype(np.float32) / 32768
    whole = [(part["start"], part["end"]) for part in speech_parts(long)]
    blocks = [long[start : start + 9 * RATE_HZ] for start in range(0, long.size, 9 * RATE_HZ)]
    cut = list(chunks(blocks, lambda: None))
    assert np.array_equal(np.concatenate([chunk.samples for chunk in cut]), long)
    found = [(chunk.offset + part["start"], chunk.offset + part["end"]) for chunk in cut for part in chunk.parts]
    assert len(found) == len(whole) == 12
    assert np.abs(np.array(found) - np.array(whole)).max() < 0.3 * RATE_HZ


def test_speech_without_a_pause_is_cut_before_it_outgrows_a_window(sound: Sound) -> None:
    sentence = sound[int(5.7 * RATE_HZ) : int(8.8 * RATE_HZ)]
    parts = speech_parts(np.tile(sentence, 25).astype(np.float32) / 32768)
    assert len(parts) >= 3
    assert all(part["end"] - part["start"] <= 30 * RATE_HZ for part in parts)


# What Whisper makes of it: random words, but true shapes, times and bounds


def test_segments_carry_times_of_the_recording_text_and_confidence(listener: audio.Listener) -> None:
    found = heard(listener, SPEECH.read_bytes())
    assert found["segments"]
    assert found["text"] == " ".join(segment["text"] for segment in found["segments"])
    for segment in found["segments"]:
        assert set(segment) == {"start", "end", "text", "confidence"}
        assert 0.7 <= segment["start"] <= segment["end"] <= 14.0  # between the first word's and the last word's edge
        assert 0 <= segment["confidence"] <= 1


def test_the_language_is_told_with_its_probability(listener: audio.Listener) -> None:
    found = heard(listener, SPEECH.read_bytes())
    assert found["language"] in listener.languages
    assert 0 < found["language_probability"] < 1
    named = heard(listener, SPEECH.read_bytes(), language="en-GB")
    assert (named["language"], named["language_probability"]) == ("en", 1.0)


def test_words_lie_inside_their_segment(listener: audio.Listener) -> None:
    found = heard(listener, SPEECH.read_bytes(), timestamps="word", language="en")
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert words
    for segment in found["segments"]:
        assert segment["text"].split() == [word["word"] for word in segment["words"]]
        for word in segment["words"]:
            assert segment["start"] <= word["start"] <= word["end"] <= segment["end"]
            assert 0 <= word["confidence"] <= 1


def test_several_recordings_of_a_call_are_answered_in_order_and_their_tokens_counted(
    listener: audio.Listener, sound: Sound
) -> None:
    result = hear(listener, wav(silence(1)), wav(sound))
    assert [found["duration_s"] for found in result["results"]] == [1.0, pytest.approx(15.211, abs=0.01)]
    assert result["output_tokens"] > 0


def test_translation_a_hint_and_a_cooler_beginning_are_accepted(listener: audio.Listener) -> None:
    found = hear(listener, SPEECH.read_bytes(), query="Pennyroute", translate=True, temperature=0.9)
    assert found["results"][0]["segments"]


def test_segments_are_said_as_they_are_found_when_somebody_reads_along(listener: audio.Listener) -> None:
    said: list[str] = []
    item = Item(media=(picture(SPEECH.read_bytes()),), options={"stream": True, "temperature": 1.0})
    batch = Batch(task=Task.TRANSCRIBE, items=(item,), say=lambda number, text: said.append(f"{number}{text}"))
    (result,) = audio.infer(listener, batch)
    assert not isinstance(result, WorkerError)
    assert said == [f"0{segment['text']} " for segment in result["results"][0]["segments"]]


def picture(data: bytes) -> Picture:
    return Picture(content_type="audio/x", data=data)


# Time, and callers who leave


def test_a_stop_is_seen_between_the_tries_of_a_window(listener: audio.Listener) -> None:
    asked: list[int] = []

    def stopped(number: int) -> bool:
        asked.append(number)
        return len(asked) > 3

    batch = Batch(task=Task.TRANSCRIBE, items=(Item(media=(picture(SPEECH.read_bytes()),)),), stopped=stopped)
    (error,) = audio.infer(listener, batch)
    assert isinstance(error, WorkerError)
    assert (error.code, len(asked)) == (Code.TIMEOUT, 4)


def test_an_item_nobody_waits_for_leaves_the_others_alone(listener: audio.Listener) -> None:
    items = tuple(Item(media=(picture(SPEECH.read_bytes()),), options={"temperature": 1.0}) for _ in range(2))
    gone, heard_one = audio.infer(
        listener, Batch(task=Task.TRANSCRIBE, items=items, stopped=lambda number: number == 0)
    )
    assert isinstance(gone, WorkerError)
    assert not isinstance(heard_one, WorkerError)


def test_a_passed_deadline_is_seen_while_a_long_silence_is_decoded(listener: audio.Listener) -> None:
    item = Item(media=(picture(encoded(silence(600), "flac", "flac")),))
    (error,) = audio.infer(listener, Batch(task=Task.TRANSCRIBE, items=(item,), deadline=time.monotonic() - 1))
    assert isinstance(error, WorkerError)
    assert error.code is Code.TIMEOUT


# What cannot be read


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://%s\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "media[0] (audio/x, 0 bytes) is no recording that can be read: Invalid data found"),
        (b"Dear Sir or Madam, " * 300, "media[0] (audio/x, 5700 bytes) is no recording that can be read: "),
        (bytes(random.Random(3).randbytes(20_000)), "media[0] (audio/x, 20000 bytes) is no recording"),  # noqa: S311
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "media[0] (audio/x, 208 bytes) is no recording"),
        (PLAYLIST % str(SPEECH).encode(), "media[0] (audio/x, "),
        (b"ffconcat version 1.0\nfile " + str(SPEECH).encode() + b"\n", "media[0] (audio/x, "),
    ],
    ids=["empty", "text", "random bytes", "a picture", "a playlist", "a list of files"],
)
def test_what_is_no_recording_is_refused_with_a_reason(listener: audio.Listener, data: bytes, message: str) -> None:
    error = hear(listener, data)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message.startswith(message)


def test_a_film_without_sound_is_refused(listener: audio.Listener) -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    assert str(hear(listener, file.getvalue())) == "media[0] (audio/x) holds no sound"


def test_a_cut_recording_is_heard_as_far_as_it_goes(listener: audio.Listener, sound: Sound) -> None:
    for data in (wav(sound), encoded(sound, "mp3", "libmp3lame"), encoded(sound, "ogg", "libopus")):
        found = heard(listener, data[: len(data) * 3 // 4])
        assert_spoken(found["speech"][:2], SPOKEN[:2])
        assert 9.5 < found["duration_s"] < 12.5


def test_an_m4a_whose_end_is_missing_is_refused(listener: audio.Listener, sound: Sound) -> None:
    error = hear(listener, encoded(sound, "ipod", "aac")[:-2000])
    assert isinstance(error, WorkerError)
    assert "is no recording that can be read" in error.message


def test_random_damage_is_heard_around_or_refused_and_the_next_call_works(sound: Sound) -> None:
    dice = random.Random(11)  # noqa: S311 - damage, not a secret
    short = sound[: 4 * RATE_HZ]
    kinds = {
        "wav": "pcm_s16le",
        "mp3": "libmp3lame",
        "ogg": "libopus",
        "flac": "flac",
        "ipod": "aac",
        "webm": "libopus",
    }
    for whole in (encoded(short, container, codec) for container, codec in kinds.items()):
        for _ in range(40):
            damaged = bytearray(whole)
            for _ in range(dice.randrange(1, 40)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            try:
                blocks = list(Recording(picture(bytes(damaged)), "media[0]").blocks(60))
            except WorkerError as error:
                assert error.code is Code.INVALID_INPUT  # noqa: PT017 - either outcome is right
            else:
                assert all(np.isfinite(block).all() for block in blocks)
        assert next(Recording(picture(whole), "media[0]").blocks(60)).size > 3 * RATE_HZ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "Klingon"}, "language 'Klingon' is none this model knows; it is an ISO 639-1 code (af, am, ar, "),
        ({"language": "yue"}, "language 'yue' is none this model knows; "),
        ({"timestamps": "letter"}, "timestamps is segment or word, got 'letter'"),
        ({"temperature": 2}, "temperature is a number from 0 to 1, got 2"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused(
    listener: audio.Listener, options: dict[str, Any], message: str
) -> None:
    error = hear(listener, SPEECH.read_bytes(), **options)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message.startswith(message)


def test_too_long_a_hint_is_refused(listener: audio.Listener) -> None:
    error = hear(listener, SPEECH.read_bytes(), query="x" * 2001)
    assert str(error) == "query hints at names and spellings in 2000 characters, got 2001"


def test_no_recording_is_refused(listener: audio.Listener) -> None:
    assert str(hear(listener)) == "transcribe needs at least one recording; `media` is empty"


def test_a_folder_without_its_tokenizer_is_said_to_be_missing(tmp_path: Path) -> None:
    (folder := tmp_path / "faster-whisper-base").mkdir()
    MODELS["faster-whisper-base"](folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(WorkerError) as error:
        audio.load(load().get("faster-whisper-base"), Machine(models_dir=tmp_path))
    assert error.value.code is Code.MODEL_NOT_FOUND


def test_the_room_opens_without_paying_for_a_library() -> None:
    heavy = {"torch", "transformers", "faster_whisper", "ctranslate2", "av", "onnx", "pypdfium2"}
    told = f"import sys, workers.audio; print({heavy!r} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", told]) == b"set()\n"
