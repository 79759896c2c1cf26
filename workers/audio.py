"""Speech to text by faster-whisper (CTranslate2), with Silero's voice detector before it; it keeps no recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from registry.schema import Card
from registry.weights import verify
from workers.listening.recording import RATE_HZ, Recording
from workers.listening.speech import BLOCK_S, chunks, speech_parts
from workers.listening.transcript import TEMPERATURES, Transcript, Wish, transcribe
from workers.modality import Batch, Code, Item, Machine, Picture, Result, WorkerError

GRANULARITIES = ("segment", "word")
MOST_CHARACTERS = 2000  # of a hint: the model reads its last 223 tokens
BEAM_SIZE = 5  # faster-whisper's own; a variant's runtime may name another, and its compute_type


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A loaded model and how it searches. `model` is a faster_whisper.WhisperModel."""

    model: Any
    languages: frozenset[str]
    beam_size: int


def load(card: Card, machine: Machine) -> Listener:
    """Whisper from the card's own files and the voice detector from faster-whisper's; nothing is downloaded.

    Raises WorkerError, DamagedWeights.
    """
    from faster_whisper import WhisperModel  # noqa: PLC0415 - 60 MB that only a worker for recordings pays for

    found = machine.placed(card)
    if found is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    if not (found.folder / "tokenizer.json").is_file():  # faster-whisper would fetch some other model's
        raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: {found.folder} lacks tokenizer.json; add the hub's own")
    verify(card, found.folder)
    options = found.variant.runtime if found.variant else {}
    model = WhisperModel(
        str(found.folder),
        device=machine.device,
        compute_type=str(options.get("compute_type", "float16" if machine.device == "cuda" else "int8")),
        cpu_threads=machine.threads,
        local_files_only=True,
    )
    speech_parts(np.zeros(RATE_HZ, dtype=np.float32))  # loads the detector now, so that its memory is counted
    return Listener(
        model=model,
        languages=frozenset(code for code in model.supported_languages if _is_known(model, code)),
        beam_size=int(options.get("beam_size", BEAM_SIZE)),
    )


def infer(loaded: Listener, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [one per recording], "output_tokens": n}. A recording: {"text", "language", "language_probability"
    (1.0 where the caller named it), "duration_s", "segments", "speech"}.

    segments: {"start", "end" (seconds of the recording), "text", "confidence" (the geometric mean of its tokens'
    probabilities), "words" ({"start", "end", "word", "confidence"}) with options.timestamps "word"}. speech: the
    {"start", "end"} in which a voice is heard. Without any: text "" and language None. `damaged_packets` counts
    what could not be decoded, where there was any.

    options: language (ISO 639-1; else detected in the first half minute of speech), translate (into English),
    timestamps (segment or word), temperature (where to begin), stream (segments are said as they are found).
    `query` is a hint: names and spellings to expect.
    """
    return [_item(loaded, item, batch.alone(number)) for number, item in enumerate(batch.items)]


def _item(loaded: Listener, item: Item, batch: Batch) -> Result | WorkerError:
    if not item.media:
        return WorkerError(Code.INVALID_INPUT, "transcribe needs at least one recording; `media` is empty")
    try:
        wish = _wish(loaded, item)
        heard = [_heard(loaded, picture, f"media[{n}]", wish, batch) for n, picture in enumerate(item.media)]
    except WorkerError as error:
        return error
    return {"results": [told for told, _ in heard], "output_tokens": sum(tokens for _, tokens in heard)}


def _heard(loaded: Listener, picture: Picture, name: str, wish: Wish, batch: Batch) -> tuple[dict[str, Any], int]:
    recording = Recording(picture, name)
    transcript = Transcript(language=wish.language, language_probability=1.0 if wish.language else None)
    for chunk in chunks(recording.blocks(BLOCK_S), batch.check_time):
        if not chunk.parts:
            continue
        for segment in transcribe(loaded.model, chunk, wish, transcript, batch.check_time):
            if batch.items[0].options.get("stream"):
                batch.say(0, segment["text"] + " ")
    return _told(transcript, recording), transcript.tokens


def _told(transcript: Transcript, recording: Recording) -> dict[str, Any]:
    spoken = bool(transcript.speech)
    told: dict[str, Any] = {
        "text": transcript.text,
        "language": transcript.language if spoken else None,
        "language_probability": transcript.language_probability if spoken else None,
        "duration_s": round(recording.duration_s, 3),
        "segments": transcript.segments,
        "speech": transcript.speech,
    }
    return told | ({"damaged_packets": recording.damaged} if recording.damaged else {})


def _wish(loaded: Listener, item: Item) -> Wish:
    """Raises WorkerError `invalid_input` over an option that cannot be followed."""
    translate = bool(item.options.get("translate"))
    if translate and loaded.languages == {"en"}:
        raise WorkerError(Code.INVALID_INPUT, "this model knows English only, it translates nothing; drop translate")
    return Wish(
        language=_language(loaded, item.options.get("language")),
        words=_granularity(item.options.get("timestamps")) == "word",
        translate=translate,
        temperatures=_temperatures(item.options.get("temperature")),
        beam_size=loaded.beam_size,
        hint=_hint(item.query),
    )


def _hint(asked: str | None) -> str | None:
    if asked is not None and len(asked) > MOST_CHARACTERS:
        raise WorkerError(
            Code.INVALID_INPUT, f"query hints at names and spellings in {MOST_CHARACTERS} characters, got {len(asked)}"
        )
    return asked or None


def _is_known(model: Any, code: str) -> bool:
    """faster-whisper names every language of every Whisper; this one's vocabulary may lack the youngest."""
    return not model.model.is_multilingual or model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None


def _language(loaded: Listener, asked: Any) -> str | None:
    if asked is None:
        return None
    code = str(asked).strip().lower().partition("-")[0]
    if code not in loaded.languages:
        known = ", ".join(sorted(loaded.languages)[:8])
        raise WorkerError(
            Code.INVALID_INPUT,
            f"language {asked!r} is none this model knows; it is an ISO 639-1 code ({known} …), or leave it out",
        )
    return code


def _granularity(asked: Any) -> str:
    if asked is None:
        return "segment"
    if asked not in GRANULARITIES:
        raise WorkerError(Code.INVALID_INPUT, f"timestamps is {' or '.join(GRANULARITIES)}, got {asked!r}")
    return str(asked)


def _temperatures(asked: Any) -> tuple[float, ...]:
    if asked is None:
        return TEMPERATURES
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked <= 1:
        raise WorkerError(Code.INVALID_INPUT, f"temperature is a number from 0 to 1, got {asked!r}")
    return (float(asked), *(each for each in TEMPERATURES if each > asked))
