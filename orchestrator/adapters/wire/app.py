"""Which path is which protocol, what a request meets, and the control interface; it touches no socket."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from orchestrator.adapters.wire import chat_api, messages_api
from orchestrator.adapters.wire.answers import Ask, Replay, Said, say
from orchestrator.adapters.wire.behaviour import Act, Behaviour, Counts, Script
from orchestrator.adapters.wire.errors import Rejected, anthropic_error, default_message, openai_error
from orchestrator.core.errors import InvalidInput

JSON = b"application/json"
RECENT_REQUESTS = 64
GARBAGE = b'{"id": "wire", "choices": [{"message": {"content": "broken'


class Closable(Protocol):
    def close(self) -> None: ...


class Request(NamedTuple):
    """One HTTP request; header names are lower-case."""

    method: bytes
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    keep_alive: bool


def _ignore(_how: Literal["whole", "left"]) -> None:
    return None


@dataclass(kw_only=True, slots=True)
class Played:
    """How a request is answered. `ended` must be told once whether the client stayed to the end."""

    status: int = 200
    content_type: bytes = JSON
    body: bytes = b""
    extra: bytes = b""
    events: list[bytes] | None = None
    act: Act = "answer"
    after_events: int = 0
    latency_s: float = 0.0
    event_s: float = 0.0
    ended: Callable[[Literal["whole", "left"]], None] = _ignore

    @property
    def instant(self) -> bool:
        """Nothing to wait for: may be written where it stands."""
        return self.events is None and not self.latency_s and self.act not in ("hang", "drop")


class WireApp:
    """The state of one wire server: its script, replayed answers, counts and last requests."""

    def __init__(
        self,
        default: Behaviour | None = None,
        replay: Replay | None = None,
        seed: int = 0,
        models: tuple[str, ...] = ("wire-synthetic",),
    ) -> None:
        self.script = Script(default, seed)
        self.replay = replay or Replay()
        self.counts = Counts()
        self.models = models
        self.recent: deque[Mapping[str, Any]] = deque(maxlen=RECENT_REQUESTS)
        self.connections: set[Closable] = set()
        self._number = 0

    def reset(self) -> None:
        """Empties the script, the counts and the recent requests; the default is the one it started with."""
        self.script.reset()
        self.counts.reset()
        self.recent.clear()

    def respond(self, request: Request) -> Played:
        path = request.path
        if path == messages_api.PATH:
            return self._chat(request, anthropic=True)
        if path in chat_api.PATHS:
            return self._chat(request, anthropic=False)
        if path in chat_api.EMBEDDING_PATHS:
            return self._embeddings(request)
        if path in ("/v1/models", "/models"):
            return self._list_models(request)
        if path.startswith("/_control/"):
            return self._control(request)
        return _json(404, openai_error(404, f"Invalid URL ({request.method.decode()} {path})"))

    # what a provider does

    def _chat(self, request: Request, anthropic: bool) -> Played:
        self._number += 1
        number = self._number
        try:
            sent = _read_json(request.body)
            version = request.headers.get(b"anthropic-version", b"").decode() or None
            ask = messages_api.read(sent, version) if anthropic else chat_api.read(sent)
        except Rejected as error:
            return self._reject("", error.status, str(error), number, anthropic)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return self._reject("", 400, f"malformed request: {error!r}", number, anthropic)
        self.recent.append({"path": request.path, "headers": _told(request.headers), "body": sent})
        self.counts.add(ask.model, "requests")
        behaviour = self.script.next(ask.model)
        if behaviour.do == "error":
            return self._error(ask, behaviour, number, anthropic)
        if behaviour.do in ("hang", "drop", "garbage"):
            return self._misbehave(ask, behaviour)
        return self._answer(ask, behaviour, number, anthropic)

    def _answer(self, ask: Ask, behaviour: Behaviour, number: int, anthropic: bool) -> Played:
        said = say(ask, behaviour, self.replay)
        played = Played(
            act=behaviour.do,
            after_events=behaviour.after_events,
            latency_s=behaviour.latency_ms / 1000,
            event_s=behaviour.event_ms / 1000,
            extra=_labels(said.source, number, anthropic),
            ended=self._accountant(ask, said, behaviour.do),
        )
        created = int(time.time())
        if anthropic and ask.stream:
            played.events = list(messages_api.events(ask, said, f"msg_wire{number}"))
        elif anthropic:
            played.body = orjson.dumps(messages_api.body(ask, said, f"msg_wire{number}"))
        elif ask.stream:
            played.events = list(chat_api.events(ask, said, f"chatcmpl-wire{number}", created))
        else:
            played.body = orjson.dumps(chat_api.body(ask, said, f"chatcmpl-wire{number}", created))
        return played

    def _accountant(self, ask: Ask, said: Said, act: Act) -> Callable[[Literal["whole", "left"]], None]:
        def ended(how: Literal["whole", "left"]) -> None:
            if how == "left":
                self.counts.add(ask.model, "left")
            elif act == "cut":
                self.counts.add(ask.model, "cut")
            else:
                self.counts.add(ask.model, "answered")
                self.counts.add(ask.model, "input_tokens", said.usage.total_input_tokens)
                self.counts.add(ask.model, "output_tokens", said.usage.output_tokens)

        return ended

    def _error(self, ask: Ask, behaviour: Behaviour, number: int, anthropic: bool) -> Played:
        status = behaviour.status
        message = behaviour.message or default_message(status)
        self.counts.add(ask.model, "refused" if status < 500 or status == 529 else "failed")
        extra = _labels("synthetic", number, anthropic)
        if behaviour.retry_after is not None:
            extra += b"retry-after: " + behaviour.retry_after.encode() + b"\r\n"
        body = anthropic_error(status, message, f"req_wire{number}") if anthropic else openai_error(status, message)
        return Played(
            status=status,
            body=orjson.dumps(body),
            extra=extra,
            latency_s=behaviour.latency_ms / 1000,
            act="error",
        )

    def _misbehave(self, ask: Ask, behaviour: Behaviour) -> Played:
        def ended(how: Literal["whole", "left"]) -> None:
            self.counts.add(ask.model, "left" if how == "left" else "failed")

        body = GARBAGE if behaviour.body is None else behaviour.body.encode()
        content_type = b"text/event-stream; charset=utf-8" if ask.stream else JSON
        return Played(
            act=behaviour.do,
            body=body,
            content_type=content_type,
            extra=b"x-pennyroute-wire: synthetic\r\n",
            latency_s=behaviour.latency_ms / 1000,
            ended=ended,
        )

    def _reject(self, model: str, status: int, message: str, number: int, anthropic: bool) -> Played:
        self.counts.add(model, "requests")
        self.counts.add(model, "refused")
        body = anthropic_error(status, message, f"req_wire{number}") if anthropic else openai_error(status, message)
        return _json(status, body)

    def _embeddings(self, request: Request) -> Played:
        self._number += 1
        try:
            sent = _read_json(request.body)
            answer = chat_api.embeddings(sent)
        except Rejected as error:
            return self._reject("", error.status, str(error), self._number, anthropic=False)
        model, tokens = sent["model"], answer["usage"]["prompt_tokens"]
        for field, count in (("requests", 1), ("answered", 1), ("input_tokens", tokens)):
            self.counts.add(model, field, count)
        return _json(200, answer)

    def _list_models(self, request: Request) -> Played:
        if b"anthropic-version" in request.headers:
            day = "2026-01-01T00:00:00Z"
            entries = [{"type": "model", "id": m, "display_name": m, "created_at": day} for m in self.models]
            ends = {"first_id": self.models[0], "last_id": self.models[-1]} if self.models else {}
            return _json(200, {"data": entries, "has_more": False, **ends})
        owned = [{"id": m, "object": "model", "created": 0, "owned_by": "pennyroute-wire"} for m in self.models]
        return _json(200, {"object": "list", "data": owned})

    # what a test, a demo or a bench tells it

    def _control(self, request: Request) -> Played:
        verbs: Mapping[str, Callable[[bytes], Any]] = {
            "GET counts": lambda _: self.counts.as_dict(),
            "GET requests": lambda _: list(self.recent),
            "POST script": self._take_script,
            "POST default": self._take_default,
            "POST reset": lambda _: self.reset(),
        }
        verb = f"{request.method.decode()} {request.path.removeprefix('/_control/')}"
        if verb not in verbs:
            return _json(404, {"error": f"no control {verb!r}; known: {', '.join(verbs)}"})
        try:
            return _json(200, verbs[verb](request.body))
        except (InvalidInput, Rejected) as error:
            return _json(400, {"error": str(error)})

    def _take_script(self, body: bytes) -> Mapping[str, int]:
        lines = _read_json(body).get("behaviours")
        if not isinstance(lines, list):
            raise InvalidInput(f'a script is {{"behaviours": [...]}}, got {lines!r}', field="behaviours")
        self.script.append(*[Behaviour.read(line) for line in lines])
        return {"remaining": self.script.remaining}

    def _take_default(self, body: bytes) -> Mapping[str, Any]:
        self.script.default = Behaviour.read(_read_json(body))
        return self.script.default.model_dump()


def _read_json(body: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected(f"could not parse the JSON body of the request: {error}") from error
    if not isinstance(value, dict):
        raise Rejected("the body must be a JSON object")
    return value


def _told(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    """The headers as text; a key is shown by its last four characters only."""
    shown = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    for name in ("authorization", "x-api-key"):
        if name in shown:
            shown[name] = f"…{shown[name][-4:]}"
    return shown


def _labels(source: str, number: int, anthropic: bool) -> bytes:
    name = "request-id" if anthropic else "x-request-id"
    return f"x-pennyroute-wire: {source}\r\n{name}: req_wire{number}\r\n".encode()


def _json(status: int, value: Any) -> Played:
    return Played(status=status, body=orjson.dumps(value), extra=b"x-pennyroute-wire: synthetic\r\n")
