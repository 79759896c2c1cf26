"""llama.cpp's own server, in this process, heard at a socket that only this user reaches; it knows no modality."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

PATIENCE_S = 600.0  # between two signs of life of a prompt that is read; whoever waits less hangs up
QUIET = 1  # llama.cpp's level of logging at which it tells errors alone


class ServerRefused(Exception):
    """The server answered with an error; the text is its own. `kind`: its own word for it."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class LlamaServer:
    """A GGUF model with `slots` generations at a time on one pool of `context_tokens`.

    `batch` is how many tokens of prompts are read in one go: after each, other slots get their turn and a hung-up
    call ends. On a CPU 64 reads as fast as 512 and hears a hang-up eight times sooner. `exact`: attention in 32-bit
    floats, for comparisons with other engines; it takes twice the memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        context_tokens: int,
        slots: int,
        threads: int,
        batch: int,
        mmap: bool,
        gpu: bool,
        exact: bool = False,
    ) -> None:
        """Raises RuntimeError where llama.cpp cannot load the file; its reasons go to stderr."""
        import xllamacpp  # noqa: PLC0415 - 100 MB of library, for who loads a GGUF model

        self._folder = Path(tempfile.mkdtemp(prefix="llama-"))  # 0700: the socket inside has no other guard
        self._socket = str(self._folder / "llama.sock")  # by this ending llama.cpp knows a socket
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.hostnames, params.port = [self._socket], 0
        params.n_ctx, params.n_parallel, params.kv_unified = context_tokens, slots, True
        params.n_threads_http = slots + 2
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.n_batch = params.n_ubatch = batch
        # Read into memory: mapped, the file's pages stay beside the copy that llama.cpp rearranges for the processor.
        modes = xllamacpp.llama_load_mode
        params.load_mode = modes.LLAMA_LOAD_MODE_MMAP if mmap else modes.LLAMA_LOAD_MODE_NONE
        params.n_gpu_layers = -1 if gpu else 0
        if exact:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.fit_params = False  # the context is planned here
        params.cache_ram_mib, params.n_ctx_checkpoints = 0, 0  # up to 8 GB of old conversations otherwise
        params.ui = params.endpoint_slots = False
        params.offline = True
        params.verbosity = QUIET
        try:
            self._server: Any = xllamacpp.Server(params)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """Ends what runs and frees the model; returns when that is done."""
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """One question, its whole answer. Raises ServerRefused, OSError."""
        call = self.call()
        try:
            return json.loads(call.send(path, body).read())
        finally:
            call.close()

    def call(self) -> LlamaCall:
        return LlamaCall(self._socket)


class LlamaCall:
    """One call of the server, which another thread may end."""

    def __init__(self, path: str) -> None:
        self._connection = _SocketConnection(path)
        self._connection.connect()

    def send(self, path: str, body: Mapping[str, Any]) -> HTTPResponse:
        self._connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise _refused(answer)
        return answer

    def events(self, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What the server says of a streamed completion, in order; ends early where the call is hung up."""
        answer = self.send("/completion", {**body, "stream": True})
        while line := answer.readline():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
            elif line.startswith(b"error: "):
                told = json.loads(line[7:])
                raise ServerRefused(str(told.get("message", told)), str(told.get("type", "")))

    def hang_up(self) -> None:
        """From any thread: the server ends the generation at its next token or its next batch of the prompt, and who
        reads `events` gets no more."""
        if (connected := self._connection.sock) is not None:
            with contextlib.suppress(OSError):  # it ended by itself meanwhile
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """By the thread that reads."""
        self._connection.close()


CALL_FAILED = (OSError, HTTPException, ValueError)
"""What a call raises whose server went away or that was hung up."""


class _SocketConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("llama", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refused(answer: HTTPResponse) -> ServerRefused:
    body = answer.read()
    try:
        error = json.loads(body)["error"]
        return ServerRefused(str(error["message"]), str(error.get("type", "")))
    except (ValueError, KeyError, TypeError):
        return ServerRefused(f"{answer.status}: {body[:200]!r}", "")
