"""`POST /v1/ocr` in Mistral's shape (API reference, "OCR"), uploads too; a face of `/route`. It fetches no URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Media
from orchestrator.http.answer import answer_headers, json_response
from orchestrator.http.auth import authenticate
from orchestrator.http.body import MAX_MEDIA_BYTES, Strict, parse
from orchestrator.http.media import decode, sniff
from orchestrator.http.permits import permit
from orchestrator.http.route import AppState, takes
from orchestrator.http.v1.ask import answered, is_form, upload
from registry.schema import Task

router = APIRouter()
_Url = Annotated[str, Field(max_length=MAX_MEDIA_BYTES * 4 // 3 + 200)]


class UrlBody(Strict):
    url: _Url


class SourceBody(Strict):
    """A `data:` URL of an image or a PDF."""

    type: Literal["document_url", "image_url"] = "document_url"
    document_url: _Url | None = None
    image_url: _Url | UrlBody | None = None
    document_name: str | None = Field(None, max_length=500)

    @model_validator(mode="after")
    def _has_one(self) -> SourceBody:
        if (self.document_url is None) == (self.image_url is None):
            raise ValueError("give either document_url or image_url")
        return self

    @property
    def address(self) -> str:
        image = self.image_url.url if isinstance(self.image_url, UrlBody) else self.image_url
        return self.document_url or image or ""


class OcrBody(Strict):
    document: SourceBody
    model: str = Field("auto", max_length=200)
    pages: list[Annotated[int, Field(ge=0)]] | None = Field(None, max_length=1_000)
    include_image_base64: bool = False


@router.post("/v1/ocr", openapi_extra=takes(OcrBody, multipart=True), tags=["v1"])
async def post_ocr(request: Request, state: AppState) -> Response:
    """The text of an image or a PDF, page by page, as Mistral's endpoint answers, with lines and their boxes beside."""
    key = await authenticate(state.deps, request)
    pages: Sequence[int] | None = None
    if is_form(request):
        async with request.form(max_files=1, max_fields=4, max_part_size=MAX_MEDIA_BYTES) as form:
            media, model = await upload(form), str(form.get("model") or "auto")
    else:
        body = parse(OcrBody, await request.body())
        media, model, pages = _media(body.document.address), body.model, body.pages
    with permit(state):
        answer = await answered(state, key.caller, request, files=(media,), task=Task.OCR, input=[], model=model)
    found = answer.reply.data[0]
    every = [_page(number, page) for number, page in enumerate(found.get("pages") or [found])]
    wanted = [page for page in every if pages is None or page["index"] in pages]
    if not wanted:
        raise InvalidInput(f"pages: the document has {len(every)}, counted from 0; got {pages}.", field="pages")
    told = {
        "pages": wanted,
        "model": answer.answered_by.model_id,
        "document_annotation": None,
        "usage_info": {"pages_processed": len(wanted), "doc_size_bytes": len(media.data)},
    }
    return json_response(told, headers=answer_headers(answer))


def _media(address: str) -> Media:
    if not address.startswith("data:"):
        raise InvalidInput(
            "document: a data: URL is needed (data:application/pdf;base64,…) or an upload as multipart/form-data; "
            f"nothing is fetched from {address[:80]!r}.",
            field="document",
        )
    content_type, data = decode(address, "document")
    return Media(content_type=content_type or sniff(data), data=data)


def _page(number: int, page: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "index": number,
        "markdown": page["text"],
        "images": [],
        "dimensions": {"dpi": page.get("dpi"), "width": page["width"], "height": page["height"]},
        "lines": page["lines"],
        "orientation": page.get("orientation"),
    }
