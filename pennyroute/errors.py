"""What a call can fail with: one class per kind, made from the server's problem+json; retries nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PennyrouteError(Exception):
    """Root. `code` is the stable word, `status` the HTTP status (None: no answer), `problem` the whole body."""

    def __init__(self, message: str, *, code: str, status: int | None = None, problem: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.message, self.code, self.status, self.problem = message, code, status, problem or {}


class InvalidRequest(PennyrouteError):
    """The request says something impossible; `problem["field"]` names it."""


class Unauthorized(PennyrouteError):
    """No key, or not a key the server knows."""


class Forbidden(PennyrouteError):
    """The key may not do this."""


class NotFound(PennyrouteError):
    """No such model, inference or blob."""


class BudgetExceeded(PennyrouteError):
    """`problem["budget"]` would be overrun; nothing was spent."""


class NoModelAvailable(PennyrouteError):
    """`problem["candidates"]` maps each model to what would make it available."""


class Overloaded(PennyrouteError):
    """Too much work at once, also after the retries; nothing was begun."""


class Unreachable(PennyrouteError):
    """No answer came: refused, cut or timed out."""


class InvalidAnswer(PennyrouteError):
    """The output does not fit the schema asked for; `problem["output"]` holds it."""


_BY_CODE: Mapping[str, type[PennyrouteError]] = {"no_model_available": NoModelAvailable}
_BY_STATUS: Mapping[int, type[PennyrouteError]] = {
    401: Unauthorized,
    402: BudgetExceeded,
    403: Forbidden,
    404: NotFound,
    422: InvalidRequest,
    429: Overloaded,
}


def from_problem(problem: Mapping[str, Any], status: int) -> PennyrouteError:
    """The error that a problem+json body tells of; a body of another kind reads as its status."""
    code = str(problem.get("code") or f"http_{status}")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, PennyrouteError)
    message = str(problem.get("detail") or problem.get("title") or f"the server answered with status {status}")
    return kind(message, code=code, status=status, problem=problem)
