"""The Python client of a Pennyroute server, sync and async: `from pennyroute import Pennyroute`; needs only httpx."""

from __future__ import annotations

from pennyroute.answer import Answer, Found
from pennyroute.client import AsyncPennyroute, Pennyroute
from pennyroute.errors import (
    BudgetExceeded,
    Forbidden,
    InvalidAnswer,
    InvalidRequest,
    NoModelAvailable,
    NotFound,
    Overloaded,
    PennyrouteError,
    Unauthorized,
    Unreachable,
)

__all__ = [
    "Answer",
    "AsyncPennyroute",
    "BudgetExceeded",
    "Forbidden",
    "Found",
    "InvalidAnswer",
    "InvalidRequest",
    "NoModelAvailable",
    "NotFound",
    "Overloaded",
    "Pennyroute",
    "PennyrouteError",
    "Unauthorized",
    "Unreachable",
]
