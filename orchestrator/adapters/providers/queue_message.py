"""The bytes that go to a local worker and come back, as pure functions; it opens no connection.

The message is Celery's protocol 2 in kombu's Redis envelope, written by hand: one pipelined round trip
stores the payload and pushes the message, at a fifth of the processor time of `send_task` in a thread
(101 against 482 µs), and the API process needs no Celery.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from orchestrator.core.errors import CallBroken, CallFailed, CallRefused, InferenceFailed
from orchestrator.core.types import Call, FinishReason, Options, Reply
from registry.schema import Task, Usage

INFER_TASK = "pennyroute.infer"
NOTES = ("truncated", "dropped_turns", "calibrated")
_TOLD = tuple(name for name in Options.__dataclass_fields__ if name not in ("tools", "tool_choice", "max_tokens"))


def packed_item(call: Call, *, streamed: bool = False) -> bytes:
    """One call as the worker reads it. Raises CallRefused for a text that is not valid Unicode."""
    item = {
        "texts": list(call.texts),
        "query": call.query,
        "media": [{"content_type": media.content_type, "data": media.data} for media in call.media],
        "turns": [{"role": turn.role, "content": turn.content} for turn in call.messages],
        "options": _options(call) | ({"stream": True} if streamed else {}),
    }
    try:
        return bytes(msgpack.packb(item))
    except UnicodeEncodeError as error:
        raise CallRefused(
            f"a text holds half a character (a lone surrogate at position {error.start}); send valid Unicode"
        ) from error


def payload(items: Sequence[bytes]) -> bytes:
    """Items already packed, as one msgpack list."""
    return bytes(msgpack.Packer().pack_array_header(len(items))) + b"".join(items)


def message(batch: str, queue: str, kwargs: Mapping[str, Any]) -> str:
    """The list entry that a Celery worker on `queue` takes as a call of `pennyroute.infer`."""
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = json.dumps([[], kwargs, embedded]).encode()
    headers = {
        "lang": "py",
        "task": INFER_TASK,
        "id": batch,
        "root_id": batch,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "eta": None,
        "expires": None,
        "ignore_result": True,
    }
    properties = {
        "correlation_id": batch,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": batch,
    }
    envelope = {
        "body": base64.b64encode(body).decode("ascii"),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(envelope)


def opened_reply(packed: bytes) -> Mapping[str, Any] | None:
    """The reply of one batch, with its `batch` id; None where the bytes are no reply."""
    try:
        reply = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException):
        return None
    return reply if isinstance(reply, dict) and isinstance(reply.get("batch"), str) else None


def pieces_of(reply: Mapping[str, Any], heard: int, items: int) -> list[tuple[int, str]]:
    """(item, text) of the pieces not `heard` yet: a worker that lost its connection pushes some twice. Raises
    CallBroken where some are missing or nothing can be read."""
    try:
        missing = reply["at"] - heard
        pieces = [(range(items)[number], str(text)) for number, text in reply["say"]]
    except (ValueError, TypeError, LookupError) as error:
        told = f"a piece of a worker's answer cannot be read ({error!r}); API and workers differ in version"
        raise CallBroken(told) from error
    if missing > 0:
        raise CallBroken(f"{missing} pieces of the answer were lost on the way; send the request again")
    return pieces[-missing:] if missing else pieces


def unsaid(reply: Reply, said: str) -> str:
    """What a stream has not told of the whole text. Raises CallBroken where it told something else."""
    whole = reply.text or ""
    if whole.startswith(said):
        return whole[len(said) :]
    if whole.strip() == said.strip():
        return ""
    raise CallBroken("the worker answered with another text than it had streamed; send the request again")


def outcomes(reply: Mapping[str, Any], waiting: int) -> list[Reply | CallFailed]:
    """One reply or error per call of the batch, in order; CallBroken for each where it cannot be read."""
    try:
        if "error" in reply:
            return [_failure(reply["error"], reply["model"]) for _ in range(waiting)]
        found = [_outcome(result, reply) for result in reply["results"]]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        told = f"a worker's reply cannot be read ({error!r}); API and workers differ in version"
        return [CallBroken(told) for _ in range(waiting)]
    if len(found) != waiting:
        told = f"a worker answered {len(found)} of {waiting} calls; see its log"
        return [CallBroken(told) for _ in range(waiting)]
    return found


def _options(call: Call) -> dict[str, Any]:
    """Those that a local model knows and the caller set."""
    options = call.options
    asked = {name: getattr(options, name) for name in _TOLD} | {"max_tokens": call.max_tokens}
    # Not by equality: 0.0 == False, and a temperature of 0 must reach the model.
    return {name: value for name, value in asked.items() if value is not None and value is not False and value != ()}


def _outcome(result: Mapping[str, Any], reply: Mapping[str, Any]) -> Reply | CallFailed:
    if "error" in result:
        return _failure(result["error"], reply["model"])
    found = result["ok"]
    return Reply(
        usage=Usage(input_tokens=found.get("tokens", 0), output_tokens=found.get("output_tokens", 0)),
        text=found.get("text"),
        data=None if "text" in found else _data(found),
        finish_reason=FinishReason(found.get("finish_reason", "stop")),
        timings_ms=reply["timings_ms"],
        mean_logprob=found.get("mean_logprob"),
        notes={name: found[name] for name in NOTES if found.get(name) not in (None, 0) or found.get(name) is False},
    )


def _data(found: Mapping[str, Any]) -> Any:
    """Vectors become a read-only float32 array (n, dimensions); everything else is a list, one entry per
    input (for rerank: per document kept, best first)."""
    if "f32" in found:
        return np.frombuffer(found["f32"], dtype="<f4").reshape(found["shape"])
    return found["results"]


def _failure(error: Mapping[str, str], model: str) -> InferenceFailed:
    return InferenceFailed(f"{model}: {error['message']}", worker_code=error["code"], model=model)


def batch_limit(task: Task) -> int:
    """Items per message. Media takes so long per item that another worker should take the next one; the answers of a
    batch come when its longest text is written."""
    if task in {Task.OCR, Task.DOCUMENT, Task.TRANSCRIBE, Task.VISION}:
        return 1
    return 4 if task is Task.GENERATE else 32
