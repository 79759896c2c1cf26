"""Every error Pennyroute raises on purpose, one tree. Names say what happened; codes are stable.

PennyrouteError
├── InvalidInput            invalid_input        the request says something impossible
│   └── BodyTooLarge        body_too_large       more bytes than one request may have
├── Unauthorized            unauthorized         no key, or not a key we know
├── Forbidden               forbidden            the key may not do this
├── NotFound                not_found            no such inference, job, blob
│   └── ModelNotFound       model_not_found      no such card
├── BudgetExceeded          budget_exceeded      a budget would be overrun; names it
├── NoModelAvailable        no_model_available   models exist, none can answer now; says how to get one
├── NotEligible             not_eligible         no model meets the request's own constraints
├── Overloaded              overloaded           too much work at once; nothing was begun
├── DeadlineExceeded        deadline_exceeded    the caller's own deadline passed
├── CallerLeft              caller_left          nobody waits for the answer any more
├── LedgerUnavailable       ledger_unavailable   money cannot be recorded, so none is spent
├── StoreUnavailable        store_unavailable    the database cannot answer
├── AllRungsFailed          all_rungs_failed     every model of the plan failed
├── ConfigError             invalid_config       a setting is wrong
└── CallFailed              (an attempt's failure; flow decides what follows)
    ├── CallRefused         provider_rejected    the provider refused before work: unbilled
    │   ├── CallUnauthorized  provider_key       key missing, wrong or out of credit
    │   └── CallRateLimited   rate_limited       429 or overloaded: unbilled, try later
    ├── CallUnreachable     provider_unreachable never connected: unbilled
    ├── CallTimedOut        timeout              no answer in time: billed or not is unknown
    ├── CallBroken          provider_error       5xx, cut stream, unreadable answer: unknown
    └── InferenceFailed     inference_failed     a local worker's own error, with the worker's code
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar


class PennyrouteError(Exception):
    """Root. `message` says what was wrong, with which value, and what to do next."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details


class InvalidInput(PennyrouteError):
    """`field` is the path of the wrong value, e.g. `options.temperature`."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None, **details: Any) -> None:
        super().__init__(message, **({"field": field} if field else {}), **details)


class BodyTooLarge(InvalidInput):
    code = "body_too_large"


class Unauthorized(PennyrouteError):
    code = "unauthorized"


class Forbidden(PennyrouteError):
    code = "forbidden"


class NotFound(PennyrouteError):
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class BudgetExceeded(PennyrouteError):
    """Reserving would overrun a budget. Nothing was spent."""

    code = "budget_exceeded"

    def __init__(
        self,
        *,
        budget: str,
        limit_nanousd: int,
        used_nanousd: int,
        asked_nanousd: int,
        resets_at: datetime | None,
    ) -> None:
        until = f"; it resets at {resets_at.isoformat()}" if resets_at else ""
        super().__init__(
            f"budget {budget!r} has {usd(limit_nanousd - used_nanousd)} of {usd(limit_nanousd)} left and this call "
            f"could cost {usd(asked_nanousd)}{until}. Raise the limit, lower max_tokens, or use strategy local_only.",
            budget=budget,
            limit_nanousd=limit_nanousd,
            used_nanousd=used_nanousd,
            asked_nanousd=asked_nanousd,
            resets_at=resets_at.isoformat() if resets_at else None,
        )


class NoModelAvailable(PennyrouteError):
    """Models for the task exist but none can answer now; `candidates` maps model id → what to do."""

    code = "no_model_available"

    def __init__(self, message: str, *, candidates: Mapping[str, str]) -> None:
        super().__init__(message, candidates=dict(candidates))


class NotEligible(PennyrouteError):
    """Models are there but the request's own constraints rule each out; `candidates` says why."""

    code = "not_eligible"

    def __init__(self, message: str, *, candidates: Mapping[str, str]) -> None:
        super().__init__(message, candidates=dict(candidates))


class Overloaded(PennyrouteError):
    code = "overloaded"

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(PennyrouteError):
    code = "deadline_exceeded"


class CallerLeft(PennyrouteError):
    code = "caller_left"


class LedgerUnavailable(PennyrouteError):
    code = "ledger_unavailable"


class StoreUnavailable(PennyrouteError):
    code = "store_unavailable"


class AllRungsFailed(PennyrouteError):
    """Every rung failed; `attempts` lists model, code and message of each."""

    code = "all_rungs_failed"


class ConfigError(PennyrouteError):
    code = "invalid_config"


class CallFailed(PennyrouteError):
    """An attempt failed. `unbilled` is True only where the provider provably did no billable work."""

    code = "provider_error"
    unbilled: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


class CallRefused(CallFailed):
    code = "provider_rejected"
    unbilled = True


class CallUnauthorized(CallRefused):
    code = "provider_key"


class CallRateLimited(CallRefused):
    code = "rate_limited"


class CallUnreachable(CallFailed):
    code = "provider_unreachable"
    unbilled = True


class CallTimedOut(CallFailed):
    code = "timeout"


class CallBroken(CallFailed):
    code = "provider_error"


class InferenceFailed(CallFailed):
    """A local worker answered with an error; `worker_code` is one of the worker's codes
    (model_load_failed, memory_exceeded, inference_failed, timeout, invalid_input, …)."""

    code = "inference_failed"
    unbilled = True

    def __init__(self, message: str, *, worker_code: str, **details: Any) -> None:
        super().__init__(message, worker_code=worker_code, **details)
        self.worker_code = worker_code


def usd(nanousd: int) -> str:
    """Nano-dollars as exact dollars, at least two decimals: 1500000 → "$0.0015"."""
    sign, whole, rest = "-" if nanousd < 0 else "", *divmod(abs(nanousd), 10**9)
    cents = f"{rest:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole}.{cents}"
