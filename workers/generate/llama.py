"""Language models as GGUF files, written by llama.cpp: several at a time, each heard token by token; no schema here."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from workers.generate.context import pool_tokens
from workers.generate.gguf_facts import Facts, read_facts
from workers.generate.llama_server import CALL_FAILED, LlamaCall, LlamaServer, ServerRefused
from workers.generate.prompt import PLAIN_STOP, TemplateRefused, defused, plain, rendered
from workers.generate.spoken import Spoken
from workers.generate.writer import Job, Written, left_alone, too_late
from workers.modality import Batch, Code, Machine, Turn, WorkerError
from workers.runtime.memory import available_bytes

SLOTS = 4  # on a CPU more at a time write no faster together, but nobody waits for another's whole answer
BATCH_TOKENS = 64
TICK_S = 0.02  # between two looks at the deadline and at who left, where no token comes
LEAST_LOGPROB = -20.0  # one token that was given no chance must not outweigh all others
SAMPLERS = ["top_k", "top_p", "temperature"]

Options = Mapping[str, str | int | float | bool]
Event = Mapping[str, Any] | Exception | None


def load_llama(path: Path, options: Options, machine: Machine, most_context: int | None) -> LlamaModel:
    """`options` are the variant's: n_ctx, threads, batch, mmap, slots, exact. Raises DamagedWeights, WorkerError."""
    facts = read_facts(path)
    slots = int(options.get("slots", SLOTS))
    trained = min(facts.context_tokens, most_context or facts.context_tokens)
    context = min(trained, int(options.get("n_ctx", trained)))
    exact = bool(options.get("exact", False))
    pool = pool_tokens(facts.cache_bytes * (2 if exact else 1), context, slots, available_bytes())
    try:
        server = LlamaServer(
            path,
            context_tokens=pool,
            slots=slots,
            threads=int(options.get("threads", machine.threads)),
            batch=int(options.get("batch", BATCH_TOKENS)),
            mmap=bool(options.get("mmap", False)),
            gpu=machine.device == "cuda",
            exact=exact,
        )
    except RuntimeError as error:
        raise WorkerError(
            Code.MODEL_LOAD_FAILED, f"llama.cpp cannot load {path.name}; its reasons are in the worker's log"
        ) from error
    return LlamaModel(server, min(context, pool), pool, slots, facts)


@dataclass(kw_only=True, slots=True)
class _Running:
    """One answer being written. `found` once it is known what comes of it, though the server may not know yet."""

    job: Job
    call: LlamaCall
    spoken: Spoken
    logprobs: list[float] = field(default_factory=list)
    found: Written | WorkerError | None = None

    def end(self, finish_reason: str, output_tokens: int) -> None:
        self.found = Written(
            text=self.spoken.text,
            finish_reason=finish_reason,
            output_tokens=output_tokens,
            mean_logprob=fsum(self.logprobs) / len(self.logprobs) if self.logprobs else None,
        )


class LlamaModel:
    """A `Writer`. One thread per running answer listens to the server; the caller's thread says and decides."""

    shares_context = True

    def __init__(self, server: LlamaServer, context_tokens: int, pool: int, slots: int, facts: Facts) -> None:
        self.context_tokens = context_tokens
        self.plain_stop: tuple[str, ...] = () if facts.has_template else (PLAIN_STOP,)
        self._server, self._pool, self._slots, self._facts = server, pool, slots, facts

    def close(self) -> None:
        self._server.close()

    def read(self, turns: Sequence[Turn]) -> list[int]:
        said = defused(turns, self._facts.controls)
        text = rendered(said, self._template) if self._facts.has_template else plain(said)
        asked = {"content": text, "add_special": True, "parse_special": True}
        tokens: list[int] = self._server.ask("/tokenize", asked)["tokens"]
        if not tokens:
            raise WorkerError(Code.INVALID_INPUT, "the prompt is empty; say something to the model")
        return tokens

    def _template(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            return str(self._server.ask("/apply-template", {"messages": messages})["prompt"])
        except ServerRefused as error:
            raise TemplateRefused(str(error)) from error

    def write(self, jobs: Sequence[Job], batch: Batch) -> list[Written | WorkerError]:
        waiting, running = list(jobs), dict[int, _Running]()
        events: SimpleQueue[tuple[int, Event]] = SimpleQueue()
        found: dict[int, Written | WorkerError] = {}
        looked = float("-inf")
        while waiting or running:
            if time.monotonic() - looked >= TICK_S:
                looked = time.monotonic()
                waiting = self._look(waiting, running, batch, found)
            while waiting and self._has_room(waiting[0], running):
                job = waiting.pop(0)
                running[job.number] = self._start(job, events)
            with contextlib.suppress(Empty):
                number, event = events.get(timeout=TICK_S)
                if event is None or isinstance(event, Exception):
                    found[number] = _outcome(running.pop(number), event)
                elif running[number].found is None:
                    _heard(running[number], event, batch)
        return [found[job.number] for job in jobs]

    def _has_room(self, job: Job, running: Mapping[int, _Running]) -> bool:
        """What runs may fill the pool to its end, never beyond: llama.cpp would fail whoever comes last."""
        taken = sum(_most(each.job) for each in running.values())
        return not running or (len(running) < self._slots and taken + _most(job) <= self._pool)

    def _start(self, job: Job, events: SimpleQueue[tuple[int, Event]]) -> _Running:
        call = self._server.call()
        listening = threading.Thread(
            target=_listen, args=(call, job.number, _body(job), events), name="llama answer", daemon=True
        )
        listening.start()
        return _Running(job=job, call=call, spoken=Spoken(job.stop))

    def _look(
        self,
        waiting: list[Job],
        running: Mapping[int, _Running],
        batch: Batch,
        found: dict[int, Written | WorkerError],
    ) -> list[Job]:
        """Ends what is too late or not waited for; returns what still waits for a slot."""
        late = time.monotonic() > batch.deadline
        for number, each in running.items():
            if each.found is None and (late or batch.stopped(number)):
                each.found = too_late() if late else left_alone()
                each.call.hang_up()
        for job in waiting:
            if late or batch.stopped(job.number):
                found[job.number] = too_late() if late else left_alone()
        return [job for job in waiting if job.number not in found]


def _listen(call: LlamaCall, number: int, body: Mapping[str, Any], events: SimpleQueue[tuple[int, Event]]) -> None:
    try:
        for event in call.events(body):
            events.put((number, event))
        events.put((number, None))
    except (*CALL_FAILED, ServerRefused) as error:
        events.put((number, error))
    finally:
        call.close()


def _heard(running: _Running, event: Mapping[str, Any], batch: Batch) -> None:
    """Takes in one event of an answer that goes on, and says its piece.

    Stop strings are looked for here: llama.cpp loses the text that it holds back for them where an answer ends for
    its length.
    """
    told = (token.get("logprob") for token in event.get("completion_probabilities", ()))
    running.logprobs += [min(0.0, max(LEAST_LOGPROB, each)) for each in told if isinstance(each, int | float)]
    piece = running.spoken.add(event.get("content", ""))
    if event.get("stop") and not running.spoken.stopped:
        piece += running.spoken.rest()
    if piece and running.job.asked.stream:
        batch.say(running.job.number, piece)
    if running.spoken.stopped:
        running.end("stop", int(event["tokens_predicted"]))
        running.call.hang_up()
    elif event.get("stop"):
        running.end("length" if event.get("stop_type") == "limit" else "stop", int(event["tokens_predicted"]))


def _outcome(running: _Running, failed: Exception | None) -> Written | WorkerError:
    """Of an answer whose call is over."""
    if running.found is not None:
        return running.found
    if isinstance(failed, ServerRefused) and failed.kind in ("invalid_request_error", "exceed_context_size_error"):
        return WorkerError(Code.INVALID_INPUT, f"llama.cpp refuses the call: {str(failed)[:300]}")
    why = f": {failed!r:.300}" if failed is not None else " before its end"
    return WorkerError(
        Code.INFERENCE_FAILED,
        f"llama.cpp broke off an answer of at most {running.job.max_tokens} tokens{why}; send it again",
    )


def _most(job: Job) -> int:
    return len(job.tokens) + job.max_tokens


def _body(job: Job) -> dict[str, Any]:
    asked = job.asked
    body: dict[str, Any] = {
        "prompt": list(job.tokens),
        "n_predict": job.max_tokens,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "min_p": 0.0,
        "samplers": SAMPLERS,
        "n_probs": 1,  # measured: costs nothing beside a token
        "cache_prompt": True,
    }
    if asked.seed is not None:
        body["seed"] = asked.seed
    if job.constraint is not None:
        body["grammar"] = job.constraint.llama_grammar
    return body
