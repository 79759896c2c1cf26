"""A cheap HTTP/1.1 load generator: one process, keep-alive sockets, closed loop; it must not judge the figures.

Reads a job as JSON on stdin, prints one JSON object. Raw asyncio protocols, because an HTTP library would cost
more CPU than the servers that are measured, on the same cores."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop


@dataclass(kw_only=True)
class Job:
    """What to send, how many callers for how long, and what an honest answer must contain."""

    host: str
    port: int
    path: str
    body: str = ""
    bodies: list[str] = field(default_factory=list)
    """Several instead of the one: sent in turn, each caller begins with another."""
    headers: dict[str, str] = field(default_factory=dict)
    callers: int = 1
    duration_s: float = 3.0
    must_contain: str = "synthetic answer"
    first_token: str | None = None
    """For streams: the bytes that mark the first piece of text; its time is measured."""

    def requests(self) -> list[bytes]:
        return [self._request(body.encode()) for body in self.bodies or [self.body]]

    def _request(self, body: bytes) -> bytes:
        lines = [f"POST {self.path} HTTP/1.1", f"host: {self.host}:{self.port}", f"content-length: {len(body)}"]
        lines += ["content-type: application/json"] + [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(kw_only=True)
class Tally:
    """Seconds of each good answer, and the bad ones with an example."""

    latencies_s: list[float] = field(default_factory=list)
    first_tokens_s: list[float] = field(default_factory=list)
    bad: int = 0
    example: str | None = None


class Caller(asyncio.Protocol):
    """One keep-alive connection: sends, waits for the whole answer, sends again until `stop_at`."""

    def __init__(
        self, job: Job, requests: list[bytes], first: int, tally: Tally, stop_at: float, done: asyncio.Future[None]
    ) -> None:
        self._requests, self._next = requests, first
        self._must_contain = job.must_contain.encode()
        self._marker = job.first_token.encode() if job.first_token else None
        self._tally, self._stop_at, self._done = tally, stop_at, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._judge_bad(b"connection lost: " + repr(exc).encode())
            self._done.set_result(None)

    def _send(self) -> None:
        self._buffer = b""
        self._end: int | None = None
        self._chunked = False
        self._token_seen = False
        self._began = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._marker and not self._token_seen and self._marker in self._buffer:
            self._token_seen = True
            self._tally.first_tokens_s.append(time.perf_counter() - self._began)
        if self._end is None and not self._chunked:
            self._read_head()
        if self._chunked:
            whole = self._buffer.endswith(b"\r\n0\r\n\r\n")
        else:
            whole = self._end is not None and len(self._buffer) >= self._end
        if whole:
            self._finish()

    def _read_head(self) -> None:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            return
        head = self._buffer[:at].lower()
        place = head.find(b"content-length:")
        if place < 0:
            self._chunked = True
            return
        self._end = at + 4 + int(head[place + 15 :].split(b"\r\n", 1)[0])

    def _finish(self) -> None:
        now = time.perf_counter()
        good = self._buffer[9:12] == b"200" and self._must_contain in self._buffer
        if good:
            self._tally.latencies_s.append(now - self._began)
        else:
            self._judge_bad(self._buffer)
        if now < self._stop_at:
            self._send()
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def _judge_bad(self, answer: bytes) -> None:
        self._tally.bad += 1
        if self._tally.example is None:
            self._tally.example = answer[:600].decode("utf-8", "replace")


async def drive(job: Job) -> dict[str, Any]:
    """Runs the job; figures in milliseconds and requests per second of wall time."""
    loop = asyncio.get_running_loop()
    tally, began = Tally(), time.perf_counter()
    dones: list[asyncio.Future[None]] = []
    requests = job.requests()
    for number in range(job.callers):
        done: asyncio.Future[None] = loop.create_future()
        dones.append(done)
        caller = Caller(job, requests, number * len(requests) // job.callers, tally, began + job.duration_s, done)
        await loop.create_connection(lambda caller=caller: caller, job.host, job.port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*dones), job.duration_s + 90)
    wall_s = time.perf_counter() - began
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": len(tally.latencies_s),
        "bad": tally.bad,
        "example": tally.example,
        "wall_s": wall_s,
        "rps": len(tally.latencies_s) / wall_s,
        "p50_ms": percentile_ms(tally.latencies_s, 0.50),
        "p99_ms": percentile_ms(tally.latencies_s, 0.99),
        "first_token_p50_ms": percentile_ms(tally.first_tokens_s, 0.50),
        "first_token_p99_ms": percentile_ms(tally.first_tokens_s, 0.99),
        "load_cpu_s": own.ru_utime + own.ru_stime,
    }


def percentile_ms(seconds: list[float], share: float) -> float | None:
    """Nearest rank; None where nothing was measured."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> int:
    json.dump(uvloop.run(drive(Job(**json.load(sys.stdin)))), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
