"""One table from errors to HTTP: status and title; bodies are RFC 9457 problem+json, on /v1 of the API imitated there.
No rule of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from orchestrator.core import errors
from orchestrator.http.imitated import shaped

log = logging.getLogger(__name__)

# The nearest class in an error's ancestry decides.
STATUS: Mapping[type[errors.PennyrouteError], tuple[int, str]] = {
    errors.InvalidInput: (422, "Invalid input"),
    errors.BodyTooLarge: (413, "Body too large"),
    errors.Unauthorized: (401, "Unauthorized"),
    errors.Forbidden: (403, "Forbidden"),
    errors.NotFound: (404, "Not found"),
    errors.BudgetExceeded: (402, "Budget exceeded"),
    errors.NotEligible: (422, "No eligible model"),
    errors.NoModelAvailable: (503, "No model available"),
    errors.Overloaded: (429, "Too many requests"),
    errors.DeadlineExceeded: (504, "Deadline exceeded"),
    errors.CallerLeft: (499, "Caller left"),  # read by nobody but an access log; the number is nginx's
    errors.LedgerUnavailable: (503, "Ledger unavailable"),
    errors.StoreUnavailable: (503, "Store unavailable"),
    errors.AllRungsFailed: (502, "Every model failed"),
    errors.CallBroken: (502, "Stream cut"),
    errors.ConfigError: (422, "Invalid setting"),
    errors.PennyrouteError: (500, "Internal error"),
}


_HTTP_CODES: Mapping[int, str] = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


def status_of(error: errors.PennyrouteError) -> int:
    if isinstance(error, errors.AllRungsFailed):
        return _status_of_attempts(error)
    return next(STATUS[kind][0] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: errors.PennyrouteError) -> dict[str, object]:
    """The problem+json body."""
    title = next(STATUS[kind][1] for kind in type(error).__mro__ if kind in STATUS)
    return {
        "type": f"urn:pennyroute:error:{error.code}",
        "title": title,
        "status": status_of(error),
        "detail": error.message,
        "code": error.code,
        **error.details,
    }


def problem_response(error: errors.PennyrouteError, path: str = "") -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, errors.Overloaded):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, errors.Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return _response(path, problem(error), status_of(error), headers)


def _response(path: str, told: Mapping[str, object], status: int, headers: dict[str, str]) -> Response:
    imitated = shaped(path, told)
    media_type = "application/json" if imitated else "application/problem+json"
    return Response(orjson.dumps(imitated or told, default=str), status, headers, media_type)


def install(app: FastAPI) -> None:
    """Every error leaves the API as a problem; a bug becomes a 500 without its inner words."""

    @app.exception_handler(errors.PennyrouteError)
    async def _ours(request: Request, error: errors.PennyrouteError) -> Response:
        return problem_response(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        said = str(error.detail).rstrip(".")
        body = {
            "type": f"urn:pennyroute:error:{code}",
            "title": HTTPStatus(error.status_code).phrase,
            "status": error.status_code,
            "detail": f"{request.method} {request.url.path}: {said}. GET /docs lists every path.",
            "code": code,
        }
        return _response(request.url.path, body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _parameters(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        told = f"{field}: {first['msg'].rstrip('.')}; got {first.get('input')!r:.120}. GET /docs shows the shape."
        return problem_response(errors.InvalidInput(told, field=field), request.url.path)

    @app.exception_handler(Exception)
    async def _bug(request: Request, error: Exception) -> Response:
        log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
        told = errors.PennyrouteError("something unexpected happened; the log has the details.")
        return problem_response(told, request.url.path)


def _status_of_attempts(error: errors.AllRungsFailed) -> int:
    """One cause for all of them is told as such; a worker that calls the input bad makes it the caller's."""
    attempts = error.details.get("attempts", ())
    codes = {attempt["code"] for attempt in attempts}
    if codes == {"rate_limited"}:
        return 503
    if codes == {"timeout"}:
        return 504
    if codes == {errors.InvalidInput.code}:
        return 422
    return 502
