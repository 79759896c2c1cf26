"""The API with memory doors, asked over ASGI: real routing, real parsing, no socket and no server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from orchestrator.http.app import create_app
from orchestrator.http.auth import hash_key
from orchestrator.http.state import State
from orchestrator.ports import Deps
from orchestrator.settings import Settings
from tests.flow.house import House, build

KEYS = {"viewer": "key-viewer", "operator": "key-operator", "admin": "key-admin"}


@dataclass
class Api:
    """`client` sends an operator's key unless told otherwise; `house` is what stands behind the doors."""

    client: httpx.AsyncClient
    house: House
    app: FastAPI

    @property
    def state(self) -> State:
        state: State = self.app.state.pennyroute
        return state

    async def route(self, body: Any, **options: Any) -> httpx.Response:
        return await self.client.post("/route", json=body, **options)

    async def key(self, secret: str, tenant: str, role: str) -> dict[str, str]:
        """Makes a key; returns its header."""
        await self.house.deps.keys.create(f"{tenant}'s {role}", tenant, role, hash_key(secret))
        return bearer(secret)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def as_role(role: str) -> dict[str, str]:
    return bearer(KEYS[role])


@asynccontextmanager
async def open_api(house: House, folder: Path, **settings: Any) -> AsyncIterator[Api]:
    chosen = Settings(data_dir=folder, **settings)

    @asynccontextmanager
    async def open_doors(_: Settings) -> AsyncIterator[Deps]:
        for role, secret in KEYS.items():
            await house.deps.keys.create(role, "default", role, hash_key(secret))
        yield house.deps

    app = create_app(chosen, open_doors=open_doors)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=as_role("operator")) as client,
    ):
        yield Api(client, house, app)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with open_api(build(), tmp_path) as opened:
        yield opened
