"""An error in the shape of the API that a path imitates: OpenAI's on /v1, Cohere's on rerank; pure."""

from __future__ import annotations

from collections.abc import Mapping

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def shaped(path: str, problem: Mapping[str, object]) -> Mapping[str, object] | None:
    """The body for this path; None where it imitates nobody and the problem itself is the answer.

    Sources: OpenAI's API reference ("Error codes": error.message, type, param, code), Cohere's ("message")."""
    if path.endswith("/rerank"):
        return {"message": problem["detail"], "code": problem["code"]}
    if not path.startswith("/v1/"):
        return None
    status = problem["status"]
    kind = _TYPES.get(status) if isinstance(status, int) else None
    fallback = "invalid_request_error" if isinstance(status, int) and status < 500 else "server_error"
    error = {"message": problem["detail"], "type": kind or fallback, "param": problem.get("field")}
    return {"error": {**error, "code": problem["code"]}}
