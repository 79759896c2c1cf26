"""`POST /v1/audio/transcriptions`, `/translations` in OpenAI's shape (API reference, "Audio"); a face of `/route`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from orchestrator.core import subtitles
from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Answer
from orchestrator.http.answer import answer_headers, json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import MAX_MEDIA_BYTES
from orchestrator.http.permits import permit
from orchestrator.http.route import AppState
from orchestrator.http.state import State
from orchestrator.http.v1.ask import answered, is_form, upload
from registry.schema import Task

router = APIRouter()
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "model": {"type": "string", "default": "auto"},
                        "language": {"type": "string"},
                        "prompt": {"type": "string", "description": "how names are spelled"},
                        "temperature": {"type": "number"},
                        "response_format": {"type": "string", "enum": list(FORMATS)},
                        "timestamp_granularities[]": {"type": "string", "enum": ["segment", "word"]},
                    },
                }
            }
        },
    }
}


@router.post("/v1/audio/transcriptions", openapi_extra=_FORM, tags=["v1"])
async def post_transcriptions(request: Request, state: AppState) -> Response:
    """What was said in a recording, as OpenAI's endpoint answers: json, text, srt, vtt or verbose_json."""
    return await _heard(request, state, translate=False)


@router.post("/v1/audio/translations", openapi_extra=_FORM, tags=["v1"])
async def post_translations(request: Request, state: AppState) -> Response:
    """The same, in English."""
    return await _heard(request, state, translate=True)


async def _heard(request: Request, state: State, *, translate: bool) -> Response:
    key = await authenticate(state.deps, request)
    if not is_form(request):
        raise InvalidInput("send multipart/form-data with the recording as `file`.", field="file")
    async with request.form(max_files=1, max_fields=16, max_part_size=MAX_MEDIA_BYTES) as form:
        media, asked = await upload(form), _options(form)
        model, shape = str(form.get("model") or "auto"), str(form.get("response_format") or "json")
        prompt = form.get("prompt") or None
    if shape not in FORMATS:
        raise InvalidInput(f"response_format is one of {', '.join(FORMATS)}; got {shape!r}.", field="response_format")
    with permit(state):
        answer = await answered(
            state,
            key.caller,
            request,
            files=(media,),
            options={**asked, "translate": translate},
            task=Task.TRANSCRIBE,
            input=[],
            query=prompt,
            model=model,
        )
    return _written(answer, shape, "translate" if translate else "transcribe")


def _options(form: FormData) -> dict[str, Any]:
    fine = [
        str(each) for each in (*form.getlist("timestamp_granularities[]"), *form.getlist("timestamp_granularities"))
    ]
    return {
        "language": form.get("language") or None,
        "temperature": _number(form.get("temperature")),
        "timestamps": "word" if "word" in fine else "segment",
    }


def _number(told: object) -> float | None:
    if told in (None, ""):
        return None
    try:
        return float(str(told))
    except ValueError as error:
        raise InvalidInput(f"temperature is a number, got {told!r}.", field="temperature") from error


def _written(answer: Answer, shape: str, task: str) -> Response:
    found: Mapping[str, Any] = answer.reply.data[0]
    headers = answer_headers(answer)
    if shape == "text":
        return PlainTextResponse(found["text"] + "\n", headers=headers)
    if shape == "srt":
        return PlainTextResponse(subtitles.srt(found["segments"]), headers=headers)
    if shape == "vtt":
        return PlainTextResponse(subtitles.vtt(found["segments"]), headers=headers, media_type="text/vtt")
    if shape == "json":
        return json_response({"text": found["text"]}, headers=headers)
    return json_response(_verbose(found, task), headers=headers)


def _verbose(found: Mapping[str, Any], task: str) -> dict[str, Any]:
    segments = [
        {"id": number, **{name: value for name, value in segment.items() if name != "words"}}
        for number, segment in enumerate(found["segments"])
    ]
    told = {
        "task": task,
        "language": found["language"],
        "duration": found["duration_s"],
        "text": found["text"],
        "segments": segments,
    }
    words = [word for segment in found["segments"] for word in segment.get("words") or ()]
    return told | ({"words": words} if words else {})
