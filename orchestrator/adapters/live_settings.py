"""The settings of a running process with the database's values over them, read again every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from orchestrator.core.errors import ConfigError, StoreUnavailable

log = logging.getLogger(__name__)

_READ_EVERY_S = 5.0


T = TypeVar("T")


class LiveSettings(Generic[T]):
    """`current` never waits; a database that cannot answer leaves it as it was.

    `over` lays the database's values over the settings the process started with; it may raise ConfigError.
    """

    def __init__(
        self,
        settings: T,
        over: Callable[[Mapping[str, Any]], T],
        overrides: Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> None:
        self._over = over
        self._overrides = overrides
        self._reader: asyncio.Task[None] | None = None
        self.current = settings

    async def start(self) -> None:
        await self._read()
        self._reader = asyncio.create_task(self._read_forever(), name="live-settings")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader

    async def _read_forever(self) -> None:
        while True:
            await asyncio.sleep(_READ_EVERY_S)
            await self._read()

    async def _read(self) -> None:
        try:
            self.current = self._over(await self._overrides())
        except (StoreUnavailable, ConfigError) as error:
            log.warning("settings in the database are not used: %s", error)
