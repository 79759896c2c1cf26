"""`log -f`: every attempt once, in the order it came, also one that began earlier and was written later."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.cli import log
from pennyroute import Pennyroute
from tests.client.server import Reply, serving


def row(id: str, **changes: Any) -> dict[str, Any]:
    values = {
        **{"id": id, "created_at": "2026-11-20T10:00:00+00:00", "task": "generate", "complexity": "simple"},
        **{"model_id": "gpt-4o", "tier": "premium", "accepted": True, "error_code": None, "cost_nanousd": 1_500_000},
        **{"latency_ms": 12.34, "input_tokens": 7, "output_tokens": 3},
    }
    return {**values, **changes}


def page(*ids: str) -> Reply:
    """As the API answers: newest first."""
    return Reply({"inferences": [row(id) for id in sorted(ids, reverse=True)]})


def test_following_shows_each_attempt_once_and_misses_no_late_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_POLL_S", 0.01)
    with serving() as server, Pennyroute(server.url) as client:
        server.says("GET /inferences", page("1", "3"), page("3"), page("2", "3", "4"), page("2", "3", "4", "5"))
        shown = [one["id"] for one in itertools.islice(log._rows(client, 20, True), 5)]
    assert shown == ["1", "3", "2", "4", "5"]
    assert server.seen[0]["query"] == "limit=200"
    assert server.seen[1]["query"] == "limit=1000&after=1"


def test_following_begins_with_as_many_lines_as_asked_for() -> None:
    with serving() as server, Pennyroute(server.url) as client:
        server.says("GET /inferences", page("1", "2", "3"))
        shown = [one["id"] for one in itertools.islice(log._rows(client, 2, True), 2)]
    assert shown == ["2", "3"]


@pytest.mark.parametrize(
    ("changes", "ending", "style"),
    [
        ({}, "7→3 tokens", ""),
        ({"accepted": False}, "not good enough", "dim"),
        ({"accepted": False, "error_code": "timeout"}, "timeout", "red"),
    ],
)
def test_a_line_tells_model_cost_latency_and_how_it_ended(changes: Mapping[str, Any], ending: str, style: str) -> None:
    shown = log.line(row("1", **changes))
    assert "gpt-4o" in shown.plain
    assert "$0.0015" in shown.plain
    assert "12 ms" in shown.plain
    assert shown.plain.endswith(ending)
    assert shown.style == style
