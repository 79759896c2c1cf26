"""`pennyroute models …` on an empty data folder and a model hub on the loopback: bring, hold, show, remove, advise."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.models_doctor import State, judge
from orchestrator.cli.models_memory import worker_memory
from orchestrator.settings import Settings
from registry.load import Registry, load
from registry.machine import limit_bytes
from registry.schema import Card
from registry.weights import need
from tests.cli.conftest import Cli
from tests.registry import files
from tests.registry.cards import local
from tests.registry.conftest import BERT, hub
from tests.registry.hub_server import Hub, Repository

__all__ = ["hub"]

BGE, REVISION = "bge-small-en-v1.5", "88885630388d6249d876a3ab145b78b34665b79a"
WORDS = ("list", "info", "doctor", "scan", "download", "prefetch", "import", "verify", "remove", "audit")


@pytest.fixture
def filled(hub: Hub) -> Hub:
    """The hub with the files of the smallest embedding model, at the revision its card names."""
    hub.repositories["BAAI/bge-small-en-v1.5"] = Repository(files=dict(BERT), revision=REVISION)
    return hub


def told(cli: Cli, *words: str) -> Any:
    """The JSON that a command answers with."""
    return json.loads(cli("models", *words, "--json").stdout)


@pytest.mark.parametrize("word", WORDS)
def test_every_word_teaches_with_examples_and_answers_in_json(cli: Cli, word: str) -> None:
    shown = cli("models", word, "--help")
    assert shown.exit_code == 0
    assert "Examples" in shown.stdout
    assert "--json" in shown.stdout


def test_a_download_is_listed_verified_and_removed(cli: Cli, filled: Hub, no_settings: Path) -> None:
    shown = cli("models", "download", BGE)
    assert shown.exit_code == 0, shown.stderr
    folder = no_settings / "data" / "models" / BGE / "fp32"
    assert str(folder) in shown.stdout.replace("\n", "")
    assert "licence: MIT" in shown.stdout
    listed = {model["id"]: model for model in told(cli, "list", "--tier", "local")}
    assert (listed[BGE]["here"], listed[BGE]["variant"], listed[BGE]["fits"]) == (True, "fp32", True)
    assert listed[BGE]["size_bytes"] == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "metadata.json"
    )
    assert (listed["bge-m3"]["here"], listed["bge-m3"]["licence"]) == (False, "MIT")
    verified = {each["id"]: each["error"] for each in told(cli, "verify")}
    assert verified[BGE] is None
    assert told(cli, "remove", BGE, "--yes")["bytes"] > 200_000
    assert not folder.exists()
    again = cli("models", "remove", BGE, "--yes")
    assert again.exit_code == 1
    assert again.stderr.startswith("Error (weights_missing) ")


def test_without_a_terminal_a_removal_must_be_confirmed_with_yes_and_the_record_stays(
    cli: Cli, filled: Hub, no_settings: Path
) -> None:
    cli("models", "download", BGE)
    shown = cli("models", "remove", BGE, given="y\n")
    assert shown.exit_code == 2
    assert "say --yes" in " ".join(shown.stderr.split())
    folder = no_settings / "data" / "models"
    assert (folder / BGE / "fp32" / "model.safetensors").is_file()
    assert told(cli, "remove", BGE, "--yes")["id"] == BGE
    assert json.loads((folder / ".pins" / f"{BGE}--fp32.json").read_text())["revision"] == REVISION


def test_a_download_in_json_names_folder_bytes_and_revision(cli: Cli, filled: Hub) -> None:
    (done,) = told(cli, "download", BGE)
    assert (done["id"], done["variant"], done["revision"]) == (BGE, "fp32", REVISION)
    assert done["bytes"] == sum(
        len(BERT[name]) for name in ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")
    )


def test_a_changed_file_fails_verify_with_exit_1_and_is_mended_by_download(
    cli: Cli, filled: Hub, no_settings: Path
) -> None:
    cli("models", "download", BGE)
    file = no_settings / "data" / "models" / BGE / "fp32" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    shown = cli("models", "verify", BGE)
    assert shown.exit_code == 1
    assert "metadata.json recorded" in shown.stdout.replace("\n", " ")
    assert cli("models", "download", BGE).exit_code == 0
    assert cli("models", "verify", BGE).exit_code == 0


def test_what_was_done_is_shown_with_who_did_it(cli: Cli, filled: Hub) -> None:
    cli("models", "download", BGE)
    cli("models", "remove", BGE, "-y")
    found = told(cli, "audit")
    assert [(each["deed"], each["card"]) for each in found] == [("download", BGE), ("remove", BGE)]
    assert all("process" in each["who"] for each in found)
    assert "BAAI/bge-small-en-v1.5@" in cli("models", "audit", "--limit", "2").stdout


def test_a_second_download_keeps_the_variant_that_is_here(cli: Cli, hub: Hub) -> None:
    for name, values in (("Q4_K_M", 3200), ("Q8_0", 6400)):
        data = files.gguf(values)
        repository = hub.repositories.setdefault("Qwen/Qwen2.5-3B-Instruct-GGUF", Repository(files={}))
        repository.files[f"qwen2.5-3b-instruct-{name.lower()}.gguf"] = data
    first = told(cli, "download", "qwen2.5-3b-instruct", "--variant", "q4_k_m")
    again = told(cli, "download", "qwen2.5-3b-instruct")
    assert [each["variant"] for each in (*first, *again)] == ["Q4_K_M", "Q4_K_M"]


QWEN = "qwen2.5-3b-instruct"


def quantised(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """A model in two variants on the hub, whose worker has room for the smaller one and 100 MB more; what both need."""
    repository = hub.repositories.setdefault("Qwen/Qwen2.5-3B-Instruct-GGUF", Repository(files={}))
    for name in ("q4_k_m", "q8_0"):
        repository.files[f"qwen2.5-3b-instruct-{name}.gguf"] = files.gguf()
    variants = {each.name: each for each in load().get(QWEN).variants}
    less, more = (need(load().get(QWEN), variants[name]) for name in ("Q4_K_M", "Q8_0"))
    assert less is not None
    assert more is not None
    monkeypatch.setenv("PENNYROUTE_WORKER_MEMORY_SHARE", f"{(less.bytes + 2 * 10**8) / limit_bytes():.9f}")
    return less.bytes, more.bytes


def test_the_variant_is_that_which_fits_the_worker_and_not_the_machine(
    cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    less, more = quantised(hub, monkeypatch)
    listed = {model["id"]: model for model in told(cli, "list", "--tier", "local")}
    assert (listed[QWEN]["variant"], listed[QWEN]["fits"], listed[QWEN]["memory_bytes"]) == ("Q4_K_M", True, less)
    assert [each["variant"] for each in told(cli, "download", QWEN)] == ["Q4_K_M"]
    assert told(cli, "download", QWEN, "--variant", "q8_0")[0]["variant"] == "Q8_0"  # whoever names one has it
    assert less + 10**8 < more


def test_a_model_too_large_for_its_worker_is_not_brought_and_what_raises_it_is_named(
    cli: Cli, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantised(hub, monkeypatch)
    monkeypatch.setenv("PENNYROUTE_WORKER_MEMORY_SHARE", "0.0001")
    shown = cli("models", "download", QWEN)
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error (too_big) ")
    assert "give the worker more: PENNYROUTE_WORKER_MEMORY_SHARE for those of `pennyroute up`, " in shown.stderr
    assert "--memory-mib for one of your own" in shown.stderr


class _Ready(BaseHTTPRequestHandler):
    """What GET /health/ready says of two workers on one queue, of one on another, and of a queue that nobody serves."""

    def do_GET(self) -> None:
        told = {"llm": (2, 9_000_000_002), "ocr": (1, 7_000_000_000), "audio": (0, 0)}
        checks = {f"queue:{name}": {"workers": of, "budget_bytes": size} for name, (of, size) in told.items()}
        body = json.dumps({"checks": {"redis": {"ok": True}, **checks}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


def test_what_a_running_worker_announced_counts_before_what_up_would_give(
    no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENNYROUTE_WORKER_MEMORY_SHARE", "0.5")
    half = int(limit_bytes() * 0.5) - 10**8  # a worker's own
    assert set(worker_memory().values()) == {half}
    with serving(_Ready) as address:
        found = worker_memory(address, "a-key")
    assert (found["llm"], found["ocr"], found["audio"], found["embeddings"]) == (4_400_000_001, 69 * 10**8, half, half)


def test_what_goes_wrong_is_one_line_with_a_stable_code(cli: Cli, filled: Hub) -> None:
    unknown = cli("models", "download", "bge-small-en")
    assert unknown.exit_code == 1
    assert unknown.stderr.startswith("Error (model_not_found) ")
    variant = cli("models", "download", BGE, "--variant", "Q4_K_M")
    assert f"{BGE} has no variant 'Q4_K_M'; it has fp32" in variant.stderr
    filled.repositories["BAAI/bge-small-en-v1.5"].gated = "hf_accepted"
    gated = cli("models", "download", BGE)
    assert gated.stderr.startswith("Error (model_gated) ")
    assert "accept its licence at https://huggingface.co/BAAI/bge-small-en-v1.5" in gated.stderr
    assert len(gated.stderr.splitlines()) == 1


def test_without_a_terminal_a_download_must_name_models(cli: Cli) -> None:
    shown = cli("models", "download")
    assert shown.exit_code == 2
    assert "pennyroute models list" in " ".join(shown.stderr.split())


def test_on_a_terminal_models_are_chosen_by_number(filled: Hub, no_settings: Path) -> None:
    env = {**os.environ, "HF_ENDPOINT": filled.url, "HF_HOME": str(no_settings / "home"), "COLUMNS": "200"}
    here, there = pty.openpty()
    command = [sys.executable, "-m", "orchestrator.cli", "models", "download"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=env, cwd=root) as process:
        os.close(there)
        shown = _read_until(here, "Which")
        number = re.search(rf"(\d+)\s+{re.escape(BGE)}", shown)
        assert number is not None, shown
        os.write(here, f"999\n{number[1]}\n".encode())
        rest = _read_until(here, "licence: MIT")
        os.close(here)
    assert "Numbers from 1 to" in rest
    assert process.returncode == 0
    assert (no_settings / "data" / "models" / BGE / "fp32" / "metadata.json").is_file()


def _read_until(terminal: int, words: str) -> str:
    shown, until = "", time.monotonic() + 60
    while words not in shown and time.monotonic() < until:
        if select.select([terminal], [], [], 1.0)[0]:
            try:
                shown += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                break
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_prefetch_brings_what_it_can_and_tells_the_rest_with_exit_1(cli: Cli, filled: Hub) -> None:
    filled.repositories["sentence-transformers/all-MiniLM-L6-v2"] = Repository(files=dict(BERT), gated="hf_x")
    shown = cli("models", "prefetch", "--queue", "embeddings", "--core", "--json")
    assert shown.exit_code == 1
    done = {each["id"]: each["code"] for each in json.loads(shown.stdout)}
    assert done == {BGE: None, "all-minilm-l6-v2": "model_gated"}
    words = cli("models", "prefetch", "--queue", "embeddings", "--core")
    assert "1 of 2 models are here" in words.stdout
    unknown = cli("models", "prefetch", "--queue", "embedding")
    assert unknown.exit_code == 2


def test_weights_brought_by_hand_are_taken_in_under_the_folders_name(cli: Cli, no_settings: Path) -> None:
    carried = no_settings / BGE
    carried.mkdir()
    (carried / "model.safetensors").write_bytes(files.safetensors())
    (carried / "config.json").write_text("{}")
    broken = cli("models", "import", str(carried))
    assert (broken.exit_code, broken.stderr.startswith("Error (weights_missing) ")) == (1, True)
    assert " lacks tokenizer.json, or vocab.txt, or vocab.json with merges.txt: " in broken.stderr
    (carried / "tokenizer.json").write_text("{}")
    done = told(cli, "import", str(carried))
    assert (done["id"], done["variant"], done["revision"]) == (BGE, "fp32", None)
    assert cli("models", "verify", BGE).exit_code == 0
    other = cli("models", "import", str(carried), "llama-3.2-3b-instruct")
    assert other.exit_code == 1
    assert other.stderr.startswith("Error (weights_missing) ")


def test_an_import_says_which_folder_is_missing_and_whose_files_it_cannot_tell(cli: Cli, no_settings: Path) -> None:
    gone = cli("models", "import", str(no_settings / BGE))
    assert (
        gone.stderr == f"Error (weights_missing) {no_settings / BGE} is no folder; name the one that holds the files\n"
    )
    (no_settings / "stick").mkdir()
    unnamed = cli("models", "import", str(no_settings / "stick"))
    assert unnamed.stderr == (
        "Error (invalid_input) 'stick' is no model's id; say whose files these are: "
        f"models import {no_settings / 'stick'} ID\n"
    )


def test_verify_does_not_claim_a_record_of_files_that_were_put_there(cli: Cli, no_settings: Path) -> None:
    folder = no_settings / "data" / "models" / BGE
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(files.safetensors())
    (folder / "config.json").write_text("{}")
    shown = cli("models", "verify", BGE)
    assert shown.exit_code == 0
    assert shown.stdout.split("fp32 ")[1] == (
        "has whole files; put there by hand, no hashes are recorded to hold them to\n"
    )


def test_the_audit_of_one_model_speaks_of_that_model_alone(cli: Cli, filled: Hub) -> None:
    cli("models", "download", BGE)
    shown = cli("models", "audit", "--model", "donut").stdout
    assert "nothing was done with weights of donut in " in " ".join(shown.split())


def test_a_scan_finds_what_is_on_disk_and_in_the_librarys_cache(cli: Cli, filled: Hub, no_settings: Path) -> None:
    cli("models", "download", BGE)
    found = told(cli, "scan")
    (here,) = found["found"]
    assert (here["place"], here["name"], here["variant"], here["whole"]) == ("models", BGE, "fp32", True)
    assert REVISION[:12] in here["note"]
    assert found["servers"] == []
    assert BGE in cli("models", "scan").stdout


class _Ollama(BaseHTTPRequestHandler):
    """Ollama's own answer to GET /api/tags, cut to one model."""

    def do_GET(self) -> None:
        details = {"format": "gguf", "family": "llama", "parameter_size": "1.2B", "quantization_level": "Q8_0"}
        model = {
            "name": "llama3.2:1b",
            "model": "llama3.2:1b",
            "size": 1321098329,
            "digest": "baf6",
            "details": details,
        }
        body = json.dumps({"models": [model]}).encode()
        self.send_response(200 if self.path == "/api/tags" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_scan_asks_an_ollama_server_for_its_models(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(_Ollama) as address:
        monkeypatch.setenv("OLLAMA_BASE_URL", address)
        (server,) = told(cli, "scan")["servers"]
        assert server["models"] == [
            {"id": "llama3.2:1b", "bytes": 1321098329, "parameters": "1.2B", "quantisation": "Q8_0"}
        ]
        assert "llama3.2:1b" in cli("models", "scan").stdout
    (server,) = told(cli, "scan")["servers"]
    assert server["error"].startswith("lists no models: ")


def test_the_doctor_says_of_every_card_what_would_make_it_available(cli: Cli) -> None:
    found = {each["id"]: each for each in told(cli, "doctor")}
    assert set(found) == set(load().cards)
    assert all(each["available"] or each["steps"] for each in found.values())
    assert found["toxicity-wordlist"]["available"]
    assert found[BGE]["state"] == "weights_missing"
    assert found[BGE]["steps"] == [f"run `pennyroute models download {BGE}`"]
    assert found["claude-sonnet"]["steps"] == ["export ANTHROPIC_API_KEY=…, then start `pennyroute up` again"]
    shown = cli("models", "doctor", "--task", "sentiment").stdout
    assert "pennyroute models download distilbert-sst2" in shown
    assert "workers were not looked at" in shown


def test_the_doctor_tells_a_mistyped_model_in_one_line(cli: Cli) -> None:
    shown = cli("models", "doctor", "bge-small-en")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error (model_not_found) No model 'bge-small-en' in the registry")
    assert len(shown.stderr.splitlines()) == 1


def test_the_doctor_counts_a_downloaded_model_as_available(cli: Cli, filled: Hub) -> None:
    cli("models", "download", BGE)
    (found,) = told(cli, "doctor", BGE)
    assert (found["state"], found["steps"]) == ("available", [])


def verdict(
    card: Card, tmp_path: Path, live: dict[str, str | None] | None = None, budgets: dict[str, int] | None = None
) -> Any:
    registry = Registry(cards={card.id: card}, by_alias={}, by_task={}, by_role={}, version="0" * 64)
    return judge(card, registry, tmp_path, Settings.model_validate({}), live, budgets)


def test_the_doctor_names_memory_and_a_smaller_model_where_one_is_too_big(tmp_path: Path) -> None:
    huge = {"name": "Q8_0", "format": "gguf", "memory_bytes": 10**15}
    found = verdict(local(variants=(huge,), fallback="vader"), tmp_path)
    assert (found.state, found.required_bytes, found.smaller) == (State.TOO_BIG, 10**15, "vader")
    assert found.steps[0].startswith("local needs 1000000000 MB of memory, ")
    assert " MB; try vader, or give the worker more: PENNYROUTE_WORKER_MEMORY_SHARE for" in found.steps[0]


def test_the_doctor_counts_the_memory_of_the_worker_and_not_of_the_machine(tmp_path: Path) -> None:
    sizes = (("Q8_0", 3_000_000), ("Q4_K_M", 2_000_000))
    card = local(variants=tuple({"name": name, "format": "gguf", "memory_bytes": need} for name, need in sizes))
    away: dict[str, str | None] = {"local": "local has no weights here"}
    assert verdict(card, tmp_path, away, {"llm": 3_500_000}).steps == ("run `pennyroute models download local`",)
    less = verdict(card, tmp_path, away, {"llm": 2_500_000})
    assert less.steps == ("run `pennyroute models download local --variant Q4_K_M`",)
    least = verdict(card, tmp_path, away, {"llm": 1_000_000, "ocr": 9_000_000})
    assert (least.state, least.required_bytes, least.available_bytes) == (State.TOO_BIG, 2_000_000, 1_000_000)


def test_the_doctor_names_the_licence_page_of_a_gated_model(tmp_path: Path) -> None:
    card = local(variants=({"name": "fp32", "format": "safetensors", "engine": "onnxruntime"},), gated=True)
    found = verdict(card, tmp_path)
    assert found.state is State.GATED
    assert found.steps == (
        "accept its licence at https://huggingface.co/someone/local, log in with `hf auth login` or set HF_TOKEN, "
        "then run `pennyroute models download local`",
    )


@pytest.mark.skipif(find_spec("paddle") is not None, reason="paddle is installed here")
def test_the_doctor_names_the_pip_line_of_an_engine_and_then_the_weights(tmp_path: Path) -> None:
    found = verdict(load().get("paddleocr"), tmp_path)
    assert found.state is State.NO_ENGINE
    assert "run `pip install 'pennyroute[paddle]'`." in found.steps[0]
    assert "paddleocr has no weights here; put unpacked inference models of PaddleOCR into " in found.steps[1]


def test_the_doctor_tells_a_model_without_a_worker_when_an_api_runs(tmp_path: Path) -> None:
    found = verdict(load().get("toxicity-wordlist"), tmp_path, {"toxicity-wordlist": "no toxicity worker is running"})
    assert (found.state, found.steps) == (State.NO_WORKER, ("no toxicity worker is running",))
    assert verdict(load().get("toxicity-wordlist"), tmp_path, {"toxicity-wordlist": None}).state is State.AVAILABLE


def test_the_doctor_hears_from_a_running_api_which_workers_serve(house_cli: Cli) -> None:
    found = {each["id"]: each for each in told(house_cli, "doctor")}
    assert found["claude-sonnet"]["available"]
    assert found["toxicity-wordlist"]["available"]
    assert found["donut"]["steps"]
    shown = house_cli("models", "doctor", "claude-sonnet").stdout
    assert "workers were not looked at" not in shown


def test_info_shows_every_variant_with_its_engine_and_options(cli: Cli) -> None:
    shown = cli("models", "info", "llama-3.2-1b").stdout
    for words in ("Q8_0", "Q4_K_M", "bf16", "llama.cpp", "transformers", "n_ctx=4096"):
        assert words in shown
    assert "accept the licence at https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct" in shown
