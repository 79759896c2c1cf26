"""The real clock and UUIDv7 ids (RFC 9562): 48 bits of milliseconds, then random bits."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from uuid import UUID


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def new_id(self) -> UUID:
        random = int.from_bytes(os.urandom(10))
        rand_a, rand_b = random >> 68, random & ((1 << 62) - 1)
        return UUID(int=(time.time_ns() // 1_000_000 << 80) | (7 << 76) | (rand_a << 64) | (2 << 62) | rand_b)
