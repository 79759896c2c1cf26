"""A small real HTTP server that speaks the API's shape and can be told what to answer next."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER: dict[str, Any] = {
    "id": "0193-a",
    "task": "generate",
    "output": "4",
    "model": "claude-sonnet",
    "tier": "premium",
    "cost_usd": "0.000123000",
    "cost_nanousd": 123000,
    "latency_ms": 12.5,
    "quality_score": 1.0,
    "finish_reason": "stop",
    "usage": {"input_tokens": 10, "output_tokens": 1},
    "why": {
        "complexity": "simple",
        "reason": "simple (about 7 tokens): premium first",
        "plan": [{"model": "claude-sonnet", "threshold": 0.5, "p_adequate": 0.9}],
        "attempts": [{"model": "claude-sonnet", "accepted": True, "error_code": None}],
    },
}


@dataclass
class Reply:
    """What one request is answered with; `body` a dict (JSON) or bytes."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """`replies` by "METHOD /path", each used once, the last one for ever; `seen` holds what came in."""

    url: str
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def says(self, line: str, *replies: Reply) -> None:
        self.replies[line] = list(replies)

    def take(self, line: str) -> Reply:
        waiting = self.replies.get(line)
        if not waiting:
            return Reply(
                {"type": "about:blank", "status": 404, "detail": f"no {line} here", "code": "not_found"}, status=404
            )
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


def events(*named: tuple[str, Any]) -> bytes:
    """A body of server-sent events."""
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in named).encode()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A server on a free loopback port for the length of a `with`."""
    server = Server(url="")

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            path, _, query = self.path.partition("?")
            body = json.loads(raw) if raw else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append({"path": path, "query": query, "body": body, "headers": headers})
            reply = server.take(f"{self.command} {path}")
            data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(data)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        # Names that http.server looks for.
        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
