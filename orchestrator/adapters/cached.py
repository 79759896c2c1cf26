"""Short-lived copies of what changes rarely and is asked for on every request: keys, policy, settings.

A copy lives for two seconds, so a revoked key or a new policy holds everywhere within that time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from orchestrator.core.reading.predict import Predictor
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.ports import ApiKey, Keys, Policies

FRESH_S = 2.0
_MAX_KEYS = 10_000

T = TypeVar("T")


class Fresh(Generic[T]):
    """The last value read, read again once it is older than FRESH_S. Errors of the reader pass through."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._value: T | None = None
        self._until = float("-inf")

    async def get(self) -> T:
        if self._value is None or time.monotonic() >= self._until:
            self._value = await self._read()
            self._until = time.monotonic() + FRESH_S
        return self._value


class CachedPolicies:
    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._current = Fresh(policies.current)
        self._predictors: dict[str | None, Predictor] = {}

    async def current(self) -> RoutingPolicy:
        return await self._current.get()

    async def activate(self, policy: RoutingPolicy, by: str) -> None:
        await self._policies.activate(policy, by)
        self._current = Fresh(self._policies.current)

    async def change(self, rule: Callable[[RoutingPolicy], RoutingPolicy], by: str) -> RoutingPolicy:
        changed = await self._policies.change(rule, by)
        self._current = Fresh(self._policies.current)
        return changed

    async def predictor(self, version: str | None) -> Predictor:
        found = self._predictors.get(version)
        if found is None:
            found = self._predictors[version] = await self._policies.predictor(version)
        return found

    async def keep_predictor(self, artefact: bytes, facts: Mapping[str, Any], by: str) -> str:
        return await self._policies.keep_predictor(artefact, facts, by)


class CachedKeys:
    """Only known keys are kept: a flood of wrong ones costs a query each and no memory."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[bytes, tuple[ApiKey, float]] = {}

    async def find(self, secret_sha256: bytes) -> ApiKey | None:
        known = self._known.get(secret_sha256)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        key = await self._keys.find(secret_sha256)
        if key is None:
            self._known.pop(secret_sha256, None)
        else:
            if len(self._known) >= _MAX_KEYS:
                self._known.clear()
            self._known[secret_sha256] = key, time.monotonic() + FRESH_S
        return key

    async def create(self, name: str, tenant: str, role: str, secret_sha256: bytes) -> ApiKey:
        return await self._keys.create(name, tenant, role, secret_sha256)
