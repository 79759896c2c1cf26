"""The API as an ASGI application: opens the doors, mounts the endpoints, describes itself at /docs."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import Route

from orchestrator import settings as setting
from orchestrator.http import explain, labels, local_llm, problems, read, route
from orchestrator.http.auth import hash_key
from orchestrator.http.body import InferBody, RouteBody, SearchBody
from orchestrator.http.size import BodyLimit
from orchestrator.http.state import State
from orchestrator.http.v1 import embeddings, moderations, ocr, rerank, transcriptions
from orchestrator.ports import Deps
from orchestrator.wiring import open_deps

_BODIES: tuple[type[BaseModel], ...] = (
    *(RouteBody, InferBody, SearchBody, labels.LabelBody),
    *(embeddings.EmbeddingsBody, rerank.RerankBody, moderations.ModerationsBody, ocr.OcrBody),
    *(local_llm.GenerateBody, local_llm.ChatBody),
    *(read.BudgetBody, read.SettingBody),
)
_ROUTERS = (
    *(route.router, explain.router, labels.router, read.router),
    *(embeddings.router, rerank.router, moderations.router, ocr.router, transcriptions.router),
    local_llm.router,
)
# The first key of an installation on one machine; `pennyroute up` makes the file.
_FIRST_KEY_FILE = Path("secrets") / "admin-key"

OpenDeps = Callable[[setting.Settings], AbstractAsyncContextManager[Deps]]


def create_app(settings: setting.Settings | None = None, open_doors: OpenDeps = open_deps) -> FastAPI:
    """`uvicorn --factory orchestrator.http.app:create_app`. Raises ConfigError for a wrong setting."""
    chosen = settings or setting.load()
    logging.basicConfig(level=chosen.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    first_key = _read_first_key(chosen.data_dir / _FIRST_KEY_FILE)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_doors(chosen) as deps:
            if first_key:
                await deps.keys.create("first", "default", "admin", hash_key(first_key))  # idempotent
            app.state.pennyroute = State(deps=deps, settings=chosen)
            _settle_memory()
            yield

    app = FastAPI(title="Pennyroute", version="0.1.0", lifespan=lifespan, description=__doc__)
    app.add_middleware(BodyLimit)
    # The same endpoint without the framework's dependency machinery, a fifth of the request's processor time; the
    # decorated one behind it describes it at /docs.
    app.router.routes.insert(0, Route("/route", route.post_route_directly, methods=["POST"]))
    for router in _ROUTERS:
        app.include_router(router)
    problems.install(app)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign] # FastAPI documents this way of extending
    return app


def _settle_memory() -> None:
    """What is loaded by now stays for good: the collector need not walk the SDKs' many objects again and
    again, which stopped every request for about 170 ms."""
    gc.collect()
    gc.freeze()


def _read_first_key(file: Path) -> str | None:
    return file.read_text("utf-8").strip() if file.is_file() else None


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes, description=app.description)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for model in _BODIES:
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(described.pop("$defs", {}))
            schemas[model.__name__] = described
        app.openapi_schema = document
    return app.openapi_schema
