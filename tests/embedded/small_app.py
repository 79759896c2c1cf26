"""A tiny ASGI app in the API's place, so that `up` is tested without the rest of the house."""

from __future__ import annotations

import os

from fastapi import FastAPI


def create_app() -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who() -> dict[str, str | int]:
        return {"pid": os.getpid(), "data_dir": os.environ["PENNYROUTE_DATA_DIR"]}

    return app
