"""What every endpoint shares: the open doors and how many requests are in work."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from orchestrator.ports import Deps
from orchestrator.settings import Settings


@dataclass(slots=True)
class State:
    deps: Deps
    settings: Settings
    in_work: int = 0


async def state_of(request: Request) -> State:
    """Asynchronous, because the framework runs a plain function in a thread of its own for each request."""
    state: State = request.app.state.pennyroute
    return state
