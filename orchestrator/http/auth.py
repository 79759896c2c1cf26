"""Who asks: finds the API key of a request. Keys are 256 random bits, so their plain SHA-256 is enough."""

from __future__ import annotations

import hashlib

from starlette.requests import Request

from orchestrator.core.errors import Forbidden, Unauthorized
from orchestrator.ports import ApiKey, Deps

_ROLES = ("viewer", "operator", "admin")


def hash_key(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def authenticate(deps: Deps, request: Request, at_least: str = "operator") -> ApiKey:
    """Raises Unauthorized without a known key, Forbidden below the role. Looked up by hash, so no compare leaks."""
    secret = _secret(request)
    if not secret:
        raise Unauthorized(
            "no API key: send `Authorization: Bearer <key>` (on one machine the key lies in the data folder; "
            "`pennyroute up` prints where)."
        )
    key = await deps.keys.find(hash_key(secret))
    if key is None:
        raise Unauthorized("this API key is not known or was revoked. `pennyroute keys create NAME` makes one.")
    if _ROLES.index(key.role) < _ROLES.index(at_least):
        raise Forbidden(f"key {key.name!r} has role {key.role}; this needs {at_least}.", role=key.role, needs=at_least)
    return key


def _secret(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "").strip()
