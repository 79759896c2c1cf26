"""One request of a face as `/route` would have it, answered; knows no wire shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Answer, Caller, Media
from orchestrator.flow.route import route
from orchestrator.http.ask import to_request
from orchestrator.http.body import OptionsBody, RouteBody, invalid
from orchestrator.http.media import named_type
from orchestrator.http.presence import present
from orchestrator.http.route import uploaded
from orchestrator.http.state import State


async def answered(
    state: State,
    caller: Caller,
    http: Request,
    files: Sequence[Media] = (),
    options: dict[str, Any] | None = None,
    **body: Any,
) -> Answer:
    """Raises what `route` raises, InvalidInput, and CallerLeft."""
    deps = state.deps
    asked = _body(body, options or {})
    request = await to_request(asked, deps.clock.new_id(), caller, deps.blobs, files, deps.limits.default_strategy)
    return await present(http, lambda presence: route(deps, request, presence))


def _body(body: dict[str, Any], options: dict[str, Any]) -> RouteBody:
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return RouteBody(options=OptionsBody(**given), **body)
    except ValidationError as error:
        raise invalid(error) from error


async def upload(form: FormData, name: str = "file") -> Media:
    """The uploaded file of a form. Its first bytes tell its type, else what the client named."""
    part = form.get(name)
    if not isinstance(part, UploadFile):
        raise InvalidInput(f"multipart/form-data needs a part {name!r} with the file.", field=name)
    return await uploaded(part)


def is_form(request: Request) -> bool:
    return named_type(request.headers.get("content-type", "")) == "multipart/form-data"
