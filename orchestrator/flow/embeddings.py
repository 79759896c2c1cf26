"""Stores embedded texts and finds them again by meaning, always within one tenant, one model and one size of vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Answer, Request
from orchestrator.flow.route import route
from orchestrator.ports import Deps, StoredText
from registry.schema import Task


async def remember(deps: Deps, answer: Answer) -> Sequence[UUID]:
    """Keeps the texts of an embed answer with their vectors; returns their ids, in order."""
    request, vectors = answer.request, answer.reply.data
    texts = [
        StoredText(id=deps.clock.new_id(), model_id=answer.answered_by.model_id, text=text, metadata=request.metadata)
        for text in request.texts
    ]
    await deps.embeddings.store(request.caller.tenant, answer.answered_by.model_id, texts, vectors)
    return [text.id for text in texts]


async def search(deps: Deps, request: Request, limit: int) -> tuple[Answer, Sequence[StoredText]]:
    """Embeds the one text of `request` and finds the nearest stored ones of the same model: the one named, else that of
    the newest stored text, since a model that arrived later would find nothing of what another has embedded."""
    if request.task is not Task.EMBED or len(request.texts) != 1:
        raise InvalidInput("a search needs exactly one query text", field="query")
    if request.model is None:
        request = replace(request, model=await deps.embeddings.newest_model(request.caller.tenant))
    answer = await route(deps, request)
    model_id = answer.answered_by.model_id
    found = await deps.embeddings.search(request.caller.tenant, model_id, answer.reply.data[0], limit)
    return answer, found
