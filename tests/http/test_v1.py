"""Other APIs' endpoints as their clients use them: shapes in, shapes out, errors in the imitated shape."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.core.types import Call, Reply
from registry.schema import Usage
from tests.flow.house import LOCAL, UP, Scripted, build, reply
from tests.http.conftest import Api, open_api

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 8
WAV = b"RIFF\x00\x00\x00\x00WAVEfmt "
LINE = {"text": "Total 9.50", "confidence": 0.98, "box": [[1, 2], [60, 2], [60, 14], [1, 14]]}
PAGE = {"text": "Total 9.50", "lines": [LINE], "width": 100, "height": 50, "orientation": 0}
SEGMENTS = [
    {"start": 0.0, "end": 1.5, "text": " Good morning.", "confidence": 0.9},
    {"start": 61.25, "end": 3_600.5, "text": " Tea & toast?", "confidence": 0.8, "words": [{"word": "Tea"}]},
]
HEARD = {"text": "Good morning. Tea & toast?", "language": "en", "duration_s": 3601.0, "segments": SEGMENTS}
UPLOAD = {"file": ("talk.wav", WAV, "audio/wav")}


def answers(call: Call) -> Scripted:
    """What each modality's worker says; a text's vector is its length and 1."""
    usage = Usage(input_tokens=7)
    if call.task == "embed":
        size = call.options.dimensions or 2
        return Reply(usage=usage, data=np.array([[len(text), 1.0][:size] for text in call.texts], dtype="<f4"))
    found: dict[str, Any] = {
        "rerank": [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.2}][: call.options.top_n],
        "toxicity": [{"toxic": True, "score": 0.96, "categories": {"insult": 0.6, "threat": 0.9, "obscenity": 0.0}}],
        "ocr": [PAGE if call.media and call.media[0].content_type == "image/png" else {"pages": [PAGE, PAGE]}],
        "transcribe": [HEARD],
    }
    return Reply(usage=usage, data=found[call.task])


@pytest.fixture
async def api(tmp_path: Path) -> Any:
    up = UP | {"ppocr-rapidocr", "faster-whisper-base"}
    house = build(builtin=answers, local=lambda call: reply() if call.task == "generate" else answers(call), up=up)
    async with open_api(house, tmp_path) as opened:
        yield opened


async def post(api: Api, path: str, status: int = 200, **how: Any) -> Any:
    response = await api.client.post(path, **how)
    assert response.status_code == status, response.text
    return response.json()


# -- embeddings -------------------------------------------------------------------------------------


async def test_embeddings_have_openais_shape(api: Api) -> None:
    told = await post(api, "/v1/embeddings", json={"input": ["tea", "coffee"], "model": "minilm-l6-builtin"})
    assert told == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 1.0]},
            {"object": "embedding", "index": 1, "embedding": [6.0, 1.0]},
        ],
        "model": "minilm-l6-builtin",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


async def test_embeddings_as_base64_are_little_endian_floats(api: Api) -> None:
    told = await post(api, "/v1/embeddings", json={"input": "tea", "encoding_format": "base64"})
    assert np.frombuffer(base64.b64decode(told["data"][0]["embedding"]), "<f4").tolist() == [3.0, 1.0]


async def test_embeddings_are_cut_to_the_dimensions_asked_for(api: Api) -> None:
    told = await post(api, "/v1/embeddings", json={"input": "tea", "dimensions": 1})
    assert told["data"][0]["embedding"] == [3.0]


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
async def test_token_ids_are_refused_in_openais_error_shape(api: Api, given: Any) -> None:
    told = await post(api, "/v1/embeddings", 422, json={"input": given})
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["param"] == "input"
    assert "token ids belong to one model's tokenizer" in told["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/moderations"])
@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        (["t"] * 2_049, "input", "List should have at most 2048 items after validation, not 2049"),
        (["t", {"type": "image_url"}], "input.1", "Input should be a valid string; got {'type': 'image_url'}"),
        ([], "input", "List should have at least 1 item"),
        ({"text": "t"}, "input", "Input should be a valid"),
    ],
)
async def test_a_wrong_list_of_texts_is_told_by_what_is_wrong_with_it(
    api: Api, path: str, given: Any, field: str, said: str
) -> None:
    told = await post(api, path, 422, json={"input": given})
    assert told["error"]["param"] == field
    assert said in told["error"]["message"]


async def test_an_unknown_model_is_a_404_in_openais_shape(api: Api) -> None:
    told = await post(api, "/v1/embeddings", 404, json={"input": "tea", "model": "text-embedding-3-small"})
    assert (told["error"]["type"], told["error"]["code"]) == ("not_found_error", "model_not_found")


async def test_a_wrong_key_is_a_401_in_openais_shape(api: Api) -> None:
    told = await post(api, "/v1/embeddings", 401, json={"input": "x"}, headers={"authorization": "Bearer no"})
    assert told["error"]["type"] == "authentication_error"


async def test_a_path_that_is_not_there_is_told_in_openais_shape(api: Api) -> None:
    told = await post(api, "/v1/nowhere", 404, json={})
    assert told["error"]["code"] == "not_found"


# -- rerank -----------------------------------------------------------------------------------------


async def test_rerank_has_coheres_shape(api: Api) -> None:
    body = {"query": "a drink", "documents": ["a chair", {"text": "tea"}], "return_documents": True}
    told = await post(api, "/v1/rerank", json=body)
    assert told["results"] == [
        {"index": 1, "relevance_score": 0.9, "document": {"text": "tea"}},
        {"index": 0, "relevance_score": 0.2, "document": {"text": "a chair"}},
    ]
    assert told["meta"]["api_version"] == {"version": "1"}
    assert told["meta"]["tokens"] == {"input_tokens": 7, "output_tokens": 0}


async def test_rerank_keeps_the_best_and_takes_a_top_n_above_the_documents(api: Api) -> None:
    body = {"query": "a drink", "documents": ["a chair", "tea"]}
    assert len((await post(api, "/v2/rerank", json=body | {"top_n": 1}))["results"]) == 1
    assert len((await post(api, "/v2/rerank", json=body | {"top_n": 50}))["results"]) == 2


async def test_an_error_of_rerank_has_coheres_message(api: Api) -> None:
    told = await post(api, "/v1/rerank", 422, json={"query": "a drink", "documents": []})
    assert set(told) == {"message", "code"}
    assert told["message"].startswith("documents:")


# -- moderations ------------------------------------------------------------------------------------


async def test_moderations_have_openais_categories_and_say_what_was_looked_for(api: Api) -> None:
    told = await post(api, "/v1/moderations", json={"input": "I will kill you, idiot", "model": "auto"})
    (found,) = told["results"]
    assert told["id"].startswith("modr-")
    assert found["flagged"] is True
    assert found["judged"] == ["harassment", "harassment/threatening", "obscenity"]
    assert found["category_scores"]["harassment/threatening"] == 0.9
    assert (found["categories"]["harassment"], found["categories"]["sexual"]) == (True, False)
    assert found["category_applied_input_types"]["sexual"] == []


# -- ocr --------------------------------------------------------------------------------------------


async def test_ocr_has_mistrals_shape_with_lines_beside(api: Api) -> None:
    address = "data:image/png;base64," + base64.b64encode(PNG).decode()
    told = await post(api, "/v1/ocr", json={"document": {"type": "image_url", "image_url": address}})
    (page,) = told["pages"]
    assert (page["index"], page["markdown"], page["lines"]) == (0, "Total 9.50", [LINE])
    assert page["dimensions"] == {"dpi": None, "width": 100, "height": 50}
    assert told["usage_info"] == {"pages_processed": 1, "doc_size_bytes": 16}


async def test_ocr_of_a_pdf_answers_the_pages_asked_for(api: Api) -> None:
    address = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7").decode()
    told = await post(api, "/v1/ocr", json={"document": {"document_url": address}, "pages": [1, 7]})
    assert [page["index"] for page in told["pages"]] == [1]


async def test_ocr_of_pages_that_are_not_there_is_refused(api: Api) -> None:
    address = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7").decode()
    told = await post(api, "/v1/ocr", 422, json={"document": {"document_url": address}, "pages": [2, 7]})
    assert told["error"]["message"] == "pages: the document has 2, counted from 0; got [2, 7]."


async def test_ocr_takes_an_upload(api: Api) -> None:
    told = await post(api, "/v1/ocr", files={"file": ("page.png", PNG, "image/png")})
    assert told["pages"][0]["markdown"] == "Total 9.50"


async def test_ocr_fetches_nothing(api: Api) -> None:
    body = {"document": {"document_url": "https://example.org/a.pdf"}}
    told = await post(api, "/v1/ocr", 422, json=body)
    assert "nothing is fetched from 'https://example.org/a.pdf'" in told["error"]["message"]


# -- audio ------------------------------------------------------------------------------------------


async def test_a_transcription_is_json_with_its_text(api: Api) -> None:
    told = await post(api, "/v1/audio/transcriptions", files=UPLOAD, data={"model": "faster-whisper"})
    assert told == {"text": "Good morning. Tea & toast?"}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("text", "Good morning. Tea & toast?\n"),
        (
            "srt",
            "1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n2\n00:01:01,250 --> 01:00:00,500\nTea & toast?\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGood morning.\n\n"
            "00:01:01.250 --> 01:00:00.500\nTea &amp; toast?\n",
        ),
    ],
)
async def test_a_transcription_is_written_as_asked(api: Api, shape: str, expected: str) -> None:
    response = await api.client.post("/v1/audio/transcriptions", files=UPLOAD, data={"response_format": shape})
    assert (response.status_code, response.text) == (200, expected)


async def test_a_verbose_transcription_has_segments_and_words(api: Api) -> None:
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    told = await post(api, "/v1/audio/transcriptions", files=UPLOAD, data=asked)
    assert (told["task"], told["language"], told["duration"]) == ("transcribe", "en", 3601.0)
    assert told["segments"][0] == {"id": 0, "start": 0.0, "end": 1.5, "text": " Good morning.", "confidence": 0.9}
    assert told["words"] == [{"word": "Tea"}]


async def test_a_translation_asks_for_english(api: Api) -> None:
    await post(api, "/v1/audio/translations", files=UPLOAD)
    assert api.house.providers["huggingface"].calls[-1].options.translate is True


async def test_a_prompt_and_a_temperature_reach_the_model(api: Api) -> None:
    asked = {"prompt": "Pennyroute, Dvořák", "temperature": "0.2"}
    await post(api, "/v1/audio/transcriptions", files=UPLOAD, data=asked)
    call = api.house.providers["huggingface"].calls[-1]
    assert (call.query, call.options.temperature) == ("Pennyroute, Dvořák", 0.2)
    told = await post(api, "/v1/audio/transcriptions", 422, files=UPLOAD, data={"temperature": "warm"})
    assert told["error"]["message"] == "temperature is a number, got 'warm'."


async def test_a_format_that_is_not_one_is_refused(api: Api) -> None:
    told = await post(api, "/v1/audio/transcriptions", 422, files=UPLOAD, data={"response_format": "docx"})
    assert told["error"]["message"].endswith("got 'docx'.")


# -- the local language model -----------------------------------------------------------------------


async def generated(tmp_path: Path, said: Scripted, path: str = "generate", status: int = 200, **body: Any) -> Any:
    async with open_api(build(local=said, premium=RuntimeError("never asked")), tmp_path) as api:
        return await post(api, f"/api/local-llm/{path}", status, json=body)


async def test_a_prompt_is_answered_by_a_local_model(tmp_path: Path) -> None:
    told = await generated(tmp_path, reply("Four."), prompt="What is two and two?")
    assert (told["success"], told["data"], told["error"], told["model_used"]) == (True, "Four.", None, LOCAL)


async def test_a_schema_gives_a_value(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}
    told = await generated(tmp_path, reply(json.dumps({"score": 4})), prompt="Score this.", schema=schema)
    assert told["data"] == {"score": 4}


async def test_a_conversation_is_answered(tmp_path: Path) -> None:
    told = await generated(tmp_path, reply("Tea."), "chat", messages=[{"role": "user", "content": "Tea or coffee?"}])
    assert told["data"] == "Tea."


async def test_without_a_local_model_the_failure_has_the_same_shape(tmp_path: Path) -> None:
    async with open_api(build(up=UP - {LOCAL}), tmp_path) as api:
        told = await post(api, "/api/local-llm/generate", 503, json={"prompt": "Hello"})
    assert (told["success"], told["data"], told["code"]) == (False, None, "no_model_available")
    assert "llama-3.2-1b-instruct is away; fetch it" in told["error"]


@pytest.mark.parametrize(("path", "field"), [("generate", "prompt"), ("chat", "messages")])
async def test_a_wrong_request_has_the_same_shape(api: Api, path: str, field: str) -> None:
    told = await post(api, f"/api/local-llm/{path}", 422, json={})
    assert (told["success"], told["data"], told["code"]) == (False, None, "invalid_input")
    assert told["error"].startswith(f"{field}: this field is missing")


async def test_the_local_models_are_listed_with_what_is_missing(api: Api) -> None:
    told = (await api.client.get("/api/local-llm/models")).json()["models"]
    by_id = {model["id"]: model for model in told}
    assert by_id[LOCAL]["available"] is True
    assert by_id["phi-2"]["missing"] == "phi-2 is away; fetch it"
    assert "claude-sonnet" not in by_id
