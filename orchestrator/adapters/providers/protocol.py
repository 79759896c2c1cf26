"""What a provider's wire must offer so that the SDK path and the plain path share it; it must not do I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from orchestrator.core.errors import CallRefused
from orchestrator.core.types import Call, Reply
from registry.schema import Task


class Gatherer(Protocol):
    """Puts the events of one stream together."""

    @property
    def text(self) -> str:
        """So far."""
        ...

    def take(self, event: Mapping[str, Any]) -> str:
        """The new text of this event, "" where it brings none. Raises Unreadable."""
        ...

    def reply(self) -> Reply:
        """The whole reply. Raises Unreadable where the stream ended too early."""
        ...


class WireProtocol(Protocol):
    """One provider's protocol as pure functions."""

    @property
    def provider(self) -> str: ...

    def payload(self, call: Call) -> dict[str, Any]:
        """The JSON body of the request, without `stream`. Raises CallRefused where it cannot be said."""
        ...

    def reply(self, body: Mapping[str, Any], request_id: str | None) -> Reply:
        """Raises Unreadable."""
        ...

    def gather(self, request_id: str | None) -> Gatherer: ...

    def stream_payload(self, call: Call) -> dict[str, Any]:
        """The JSON body of a streamed request."""
        ...


def refuse(provider: str, call: Call, why: str) -> CallRefused:
    """Nothing was sent: the request cannot be said in this provider's protocol."""
    return CallRefused(f"{provider} cannot take this request for {call.model_id}: {why}", provider=provider)


def check_task(provider: str, call: Call) -> None:
    """Raises CallRefused for tasks other than generate, and for a call without messages."""
    if call.task is not Task.GENERATE:
        raise refuse(provider, call, f"task {call.task.value!r} is not generate")
    if not call.messages:
        raise refuse(provider, call, "there is no message")
