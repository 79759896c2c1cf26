"""Bounds what a request may upload, while it arrives; reads nothing of it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.core.errors import BodyTooLarge

# One file of 25 MB as base64 is 33 MB; the longest text is 10 million characters.
MAX_BODY_BYTES = 64_000_000


class BodyLimit:
    """The endpoint that reads on past the limit gets BodyTooLarge."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise BodyTooLarge(f"the body is over {self._max_bytes} bytes; split it or use POST /blobs.")
            return message

        await self._app(scope, limited if scope["type"] == "http" else receive, send)
