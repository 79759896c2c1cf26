"""Every modality through the whole house: API, queue, the worker pinned to it, log; on real weights where a package
carries them, else on tiny random models of the true architecture, loaded by the code that loads the real ones."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.e2e.house import Standing, standing_house
from tests.tiny.__main__ import models

CARDS = (
    *("bge-small-en-v1.5", "gte-multilingual-base", "ms-marco-minilm-l12-v2", "distilbert-sst2", "roberta-toxicity"),
    *("mdeberta-mnli-xnli", "donut", "openclip-vit-b-32", "faster-whisper-base"),
    "llama-3.2-1b-instruct",
)
SAFETENSORS, GGUF = "llama-3.2-1b-instruct", "qwen2.5-3b-instruct"
GGUF_FILE = "qwen2.5-3b-instruct-q4_k_m.gguf"
SPEECH = Path(__file__).parents[1] / "data" / "speech.ogg"
SCORE = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "why": {"enum": ["clear", "vague"]}},
    "required": ["score", "why"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    data_dir = tmp_path_factory.mktemp("modalities") / "data"
    for card in CARDS:
        folder = data_dir / "models" / card
        folder.mkdir(parents=True)
        models()[card](folder)
    _place_gguf(data_dir / "models" / GGUF)
    patient = {"PENNYROUTE_LOCAL_TIMEOUT_S": "90"}  # torch alone takes seconds to import
    with standing_house(data_dir, api_processes=1, settings=patient) as house:
        yield house


def _place_gguf(folder: Path) -> None:
    """A tiny GGUF under a card that pins no digest: one that does refuses it, as it should."""
    folder.mkdir(parents=True)
    models()["llama-3.2-3b-instruct"](folder)
    (made,) = folder.glob("*.gguf")
    made.rename(folder / GGUF_FILE)


def page() -> str:
    image = Image.new("RGB", (640, 160), "white")
    ImageDraw.Draw(image).text((30, 50), "Invoice 4711 total 9.50", fill="black", font=ImageFont.load_default(40))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def served_by(answer: Any, model: str) -> Any:
    assert answer["model"] == model, answer["why"]
    assert answer["cost_nanousd"] == 0
    return answer["output"]


def test_every_card_of_these_can_be_called(house: Standing) -> None:
    _, told = house.call("GET", "/models")
    missing = {model["id"]: model["missing"] for model in told["models"]}
    assert {card: missing[card] for card in (*CARDS, GGUF)} == dict.fromkeys((*CARDS, GGUF))


@pytest.mark.parametrize(
    ("model", "dimensions"), [("minilm-l6-builtin", 384), ("bge-small-en-v1.5", 384), ("gte-multilingual-base", 768)]
)
def test_texts_become_unit_vectors_of_the_models_size(house: Standing, model: str, dimensions: int) -> None:
    (vector,) = served_by(house.route(task="embed", input="a cup of tea", model=model), model)
    assert len(vector) == dimensions
    assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-4)


def test_vectors_are_stored_and_found_per_model_and_size(house: Standing) -> None:
    for model in ("minilm-l6-builtin", "gte-multilingual-base"):
        answer = house.route(task="embed", input=["a cup of tea", "a red car"], model=model, options={"store": True})
        assert len(answer["stored_ids"]) == 2
        _, told = house.call("POST", "/embeddings/search", {"query": "a cup of tea", "model": model, "limit": 1})
        assert told["results"][0]["text"] == "a cup of tea"


def test_documents_are_ranked_by_a_cross_encoder(house: Standing) -> None:
    body = {"query": "a drink", "documents": ["tea", "a chair"], "model": "ms-marco-minilm-l12-v2"}
    status, told = house.call("POST", "/v1/rerank", body)
    assert (status, sorted(each["index"] for each in told["results"])) == (200, [0, 1])


@pytest.mark.parametrize("model", ["vader", "distilbert-sst2"])
def test_a_text_has_a_sentiment(house: Standing, model: str) -> None:
    (found,) = served_by(house.route(task="sentiment", input="What a lovely day!", model=model), model)
    assert found["label"] in ("positive", "neutral", "negative")
    assert -1 <= found["score"] <= 1


@pytest.mark.parametrize("model", ["toxicity-wordlist", "roberta-toxicity"])
def test_a_text_is_moderated(house: Standing, model: str) -> None:
    status, told = house.call("POST", "/v1/moderations", {"input": "You idiot!", "model": model})
    assert (status, told["model"]) == (200, model)
    assert 0 <= told["results"][0]["category_scores"]["harassment"] <= 1


@pytest.mark.parametrize("model", ["mdeberta-mnli-xnli", "minilm-l6-builtin", SAFETENSORS, GGUF])
def test_a_text_is_classified_by_entailment_by_similarity_or_by_instruction(house: Standing, model: str) -> None:
    body = {"task": "classify", "input": "The program crashed.", "options": {"labels": ["payment", "software error"]}}
    (found,) = served_by(house.route(**body, model=model), model)
    assert found["label"] in ("payment", "software error")
    assert sum(found["scores"].values()) == pytest.approx(1.0, abs=0.01)


def test_a_page_is_read(house: Standing) -> None:
    status, told = house.call(
        "POST", "/v1/ocr", {"document": {"type": "image_url", "image_url": f"data:image/png;base64,{page()}"}}
    )
    assert (status, told["model"]) == (200, "ppocr-rapidocr")
    assert told["pages"][0]["markdown"] == "Invoice 4711 total 9.50"


def test_a_document_is_asked(house: Standing) -> None:
    body = {"task": "document", "input": {"data": page()}, "query": "What is the total?", "options": {"max_tokens": 8}}
    (found,) = served_by(house.route(**body), "donut")
    assert {"answer", "text"} <= found.keys()


def test_an_image_is_seen(house: Standing) -> None:
    body = {"task": "vision", "input": {"data": page()}, "options": {"labels": ["an invoice", "a cat"]}}
    (found,) = served_by(house.route(**body), "openclip-vit-b-32")
    assert found["label"] in ("an invoice", "a cat")


def test_a_recording_is_heard(house: Standing) -> None:
    response = httpx.post(
        f"{house.address}/v1/audio/transcriptions",
        files={"file": ("speech.ogg", SPEECH.read_bytes(), "audio/ogg")},
        data={"response_format": "verbose_json", "language": "en"},
        headers=house.headers,
        timeout=90,
    )
    told = response.json()
    assert response.status_code == 200, told
    assert (told["language"], 1 < told["duration"] < 60) == ("en", True)


@pytest.mark.parametrize("model", [SAFETENSORS, GGUF])
def test_a_language_model_writes_within_a_schema(house: Standing, model: str) -> None:
    body = {"prompt": "How good is this essay?", "schema": SCORE, "max_tokens": 64, "model": model}
    status, told = house.call("POST", "/api/local-llm/generate", body)
    assert (status, told["success"], told["model_used"]) == (200, True, model), told
    assert set(told["data"]) == {"score", "why"}
    assert 1 <= told["data"]["score"] <= 5


@pytest.mark.parametrize("model", [SAFETENSORS, GGUF])
def test_a_language_models_words_are_streamed(house: Standing, model: str) -> None:
    body = {"input": "Say anything.", "stream": True, "model": model, "options": {"max_tokens": 24, "seed": 7}}
    with httpx.stream("POST", f"{house.address}/route", json=body, headers=house.headers, timeout=90) as response:
        lines = [line for line in response.iter_lines() if line]
    events = [(lines[n].removeprefix("event: "), json.loads(lines[n + 1][6:])) for n in range(0, len(lines), 2)]
    pieces = [data["text"] for name, data in events if name == "delta"]
    name, answer = events[-1]
    assert name == "answer", answer
    assert "".join(pieces) == answer["output"]
    assert 0 < answer["usage"]["output_tokens"] <= 24


def test_two_language_models_of_this_machine_vote(house: Standing) -> None:
    """Where one of them is not predicted good enough alone, the second is asked too and the answers are compared."""
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    options = {"max_tokens": 32, "schema": {**schema, "additionalProperties": False}}
    ask = {"input": "What is 17 times 3?", "options": options, "strategy": "local_only"}
    answer = house.route(**ask, constraints={"quality": 0.83})
    first, second = answer["why"]["attempts"]
    assert {first["model"], second["model"]} == {SAFETENSORS, GGUF}
    assert "agreement" not in first["signals"]
    assert 0 <= second["signals"]["agreement"] <= 1


def encoded(data: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(data).decode()}


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


WHOLE = base64.b64decode(page())
BAD: list[tuple[str, dict[str, Any]]] = [
    *((task, {"task": task, "input": encoded(WHOLE[:200])}) for task in ("ocr", "vision", "document")),
    *((task, {"task": task, "input": encoded(png(1, 1))}) for task in ("ocr", "document")),
    *((task, {"task": task, "input": encoded(png(30_000, 30_000))}) for task in ("ocr", "vision", "document")),
    *(
        (task, {"task": task, "input": encoded(b"this is text")})
        for task in ("ocr", "vision", "document", "transcribe")
    ),
    ("transcribe", {"task": "transcribe", "input": encoded(WHOLE)}),
    ("transcribe", {"task": "transcribe", "input": encoded(b"RIFF\x24\x00\x00\x00WAVEfmt ")}),
    ("ocr", {"task": "ocr", "input": encoded(b"%PDF-1.7 and then nothing")}),
    ("embed", {"task": "embed", "input": "so " * 3_000_000, "model": "minilm-l6-builtin"}),
    ("sentiment", {"task": "sentiment", "input": "so " * 3_000_000, "model": "vader"}),
    ("toxicity", {"task": "toxicity", "input": "so " * 3_000_000, "model": "toxicity-wordlist"}),
    ("generate", {"input": "so " * 3_000_000, "model": SAFETENSORS}),
    ("generate", {"input": "so " * 3_000_000, "model": GGUF}),
]


@pytest.mark.parametrize("body", [body for _, body in BAD], ids=[f"{n}-{task}" for n, (task, _) in enumerate(BAD)])
def test_bad_input_gets_a_clear_error_and_the_same_worker_answers_the_next(
    house: Standing, body: dict[str, Any]
) -> None:
    fleet = {"ocr": "reading", "vision": "reading", "document": "reading", "transcribe": "audio"}
    fleet |= {"generate": "llm", "embed": "embeddings"}
    program = fleet.get(body.get("task", "generate"), "text")
    before = house.supervisor.pid(f"worker-{program}")
    document = {"query": "What?"} if body.get("task") == "document" else {}
    status, told = house.call("POST", "/route", {**body, **document})
    assert status == 422, told
    assert len(told["detail"]) > 40
    assert house.supervisor.pid(f"worker-{program}") == before is not None
    good: dict[str, dict[str, Any]] = {
        "reading": {"task": "ocr", "input": {"data": page()}},
        "audio": {"task": "transcribe", "input": encoded(SPEECH.read_bytes()), "options": {"language": "en"}},
        "llm": {"input": "Hi!", "model": GGUF, "options": {"max_tokens": 4}},
        "embeddings": {"task": "embed", "input": "tea", "model": "minilm-l6-builtin"},
        "text": {"task": "sentiment", "input": "Lovely!", "model": "vader"},
    }
    assert house.route(**good[program])["cost_nanousd"] == 0


def test_every_one_of_these_answers_is_in_the_log(house: Standing) -> None:
    tasks = {row["task"] for row in house.rows("select distinct task from model_inferences where error_code is null")}
    assert tasks >= {"embed", "rerank", "sentiment", "toxicity", "classify", "ocr", "document", "vision", "transcribe"}
    assert "generate" in tasks
