"""Downloads from a hub on the loopback: whole or not at all, resumed, pinned, held to hashes, refused with advice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from registry.load import load
from registry.schema import Card
from registry.weights import (
    DamagedWeights,
    DiskFull,
    GatedModel,
    HubRefused,
    HubUnreachable,
    MissingWeights,
    Moved,
    UnsafeWeights,
    bring,
    download,
    ensure,
    entries,
    manifest_of,
    missing,
    placed,
    remove,
    verify,
)
from tests.registry import files
from tests.registry.cards import local
from tests.registry.conftest import BERT, WEIGHTS
from tests.registry.hub_server import COMMIT, Hub, Repository, running

AT_ONCE = (0.0, 0.0, 0.0)
FP32 = {"name": "fp32", "format": "safetensors", "engine": "onnxruntime"}


def card(**changes: Any) -> Card:
    return local(**{"variants": (FP32,), **changes})


def fetched(hub: Hub, models: Path, **changes: Any) -> Path:
    return download(card(), models, pauses_s=AT_ONCE, **changes).folder


def test_a_download_brings_what_its_engine_needs_and_neither_pickles_nor_other_frameworks(
    hub: Hub, tmp_path: Path
) -> None:
    folder = fetched(hub, tmp_path)
    assert folder == tmp_path / "local" / "fp32"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == ["1_Pooling/config.json", "config.json", "metadata.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert missing(card(), tmp_path) is None
    found = placed(card(), tmp_path)
    assert found is not None
    assert (found.folder, found.variant and found.variant.name) == (folder, "fp32")


def test_revision_sizes_and_hashes_are_recorded(hub: Hub, tmp_path: Path) -> None:
    record = manifest_of(fetched(hub, tmp_path))
    assert record is not None
    assert (record.card, record.variant, record.source, record.hub_id) == ("local", "fp32", "hub", "someone/local")
    assert record.revision == COMMIT
    assert record.files["model.safetensors"].bytes == len(WEIGHTS)
    assert record.files["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()


def test_folders_and_files_are_readable_by_their_owner_alone(hub: Hub, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = fetched(hub, tmp_path / "models")
    finally:
        os.umask(before)
    for path in (tmp_path / "models", folder.parent, folder, folder / "1_Pooling"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o600


def test_a_second_download_asks_nobody(hub: Hub, tmp_path: Path) -> None:
    fetched(hub, tmp_path)
    asked = len(hub.asked)
    fetched(hub, tmp_path)
    assert len(hub.asked) == asked


def test_a_connection_cut_half_way_goes_on_from_there(hub: Hub, tmp_path: Path) -> None:
    large = files.safetensors(values=1_000_000)
    hub.repositories["someone/local"].files["model.safetensors"] = large
    hub.cuts["model.safetensors"] = [1_500_000, 1_200_000]
    folder = fetched(hub, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == large
    ranges = [range_ for range_ in hub.fetched("model.safetensors") if range_]
    assert ranges == ["bytes=1048576-", "bytes=1048576-", "bytes=2097152-", "bytes=2097152-"]  # resolve, then blob


def test_what_came_before_a_failure_is_kept_for_the_next_call(hub: Hub, tmp_path: Path) -> None:
    hub.lies["config.json"] = bytes(len(BERT["config.json"]))  # comes first, and is wrong twice
    with pytest.raises(DamagedWeights, match="which is not what the hub lists"):
        fetched(hub, tmp_path)
    assert missing(card(), tmp_path) is not None
    hub.lies.clear()
    part = tmp_path / ".partial" / "local--fp32"
    (part / "model.safetensors.part").write_bytes(WEIGHTS[:150_000])
    fetched(hub, tmp_path)
    assert next(range_ for range_ in hub.fetched("model.safetensors") if range_) == "bytes=150000-"
    assert not part.exists()


def test_busy_answers_are_tried_again_and_progress_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [503, 502]
    told: list[Moved] = []
    fetched(hub, tmp_path, report=told.append)
    total = sum(len(BERT[name]) for name in ("config.json", "model.safetensors", "tokenizer.json")) + 2
    assert told[-1].bytes == told[-1].total_bytes == total
    assert [each.bytes for each in told] == sorted(each.bytes for each in told)


def test_a_hub_that_stays_busy_is_given_up_with_advice(hub: Hub, tmp_path: Path) -> None:
    hub.failures = [503] * 50
    with pytest.raises(HubUnreachable, match=r"the hub answered HTTP 503 for someone/local; try again later"):
        fetched(hub, tmp_path)
    assert placed(card(), tmp_path) is None


def test_a_hub_that_does_not_answer_at_all_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match="check the connection, then run the same command again"):
        fetched(hub, tmp_path)


def test_bytes_that_are_not_those_listed_are_brought_once_more_and_then_refused(hub: Hub, tmp_path: Path) -> None:
    wrong = bytearray(WEIGHTS)
    wrong[-1] ^= 1
    hub.lies["model.safetensors"] = bytes(wrong)
    with pytest.raises(DamagedWeights, match=r"model.safetensors came with SHA-256"):
        fetched(hub, tmp_path)
    assert not (tmp_path / "local").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_that_is_listed_right_but_is_no_weights_is_never_published(hub: Hub, tmp_path: Path) -> None:
    hub.repositories["someone/local"].files["model.safetensors"] = bytes(5000)
    with pytest.raises(DamagedWeights, match="is no whole safetensors file"):
        fetched(hub, tmp_path)
    assert not (tmp_path / "local").exists()


def test_the_revision_of_the_first_download_is_kept_even_after_a_removal(hub: Hub, tmp_path: Path) -> None:
    fetched(hub, tmp_path)
    assert remove(card(), tmp_path) > len(WEIGHTS)
    assert placed(card(), tmp_path) is None
    hub.repositories["someone/local"].revision = "2" * 40
    with pytest.raises(HubRefused, match=f"the hub has no someone/local at {COMMIT} that may be read"):
        fetched(hub, tmp_path)
    record = manifest_of(fetched(hub, tmp_path, newest=True))
    assert record is not None
    assert record.revision == "2" * 40


def test_the_revision_of_an_import_that_came_with_its_record_is_kept_after_a_removal_too(
    hub: Hub, tmp_path: Path
) -> None:
    carried = fetched(hub, tmp_path / "first")
    bring(card(), carried, tmp_path / "second")
    remove(card(), tmp_path / "second")
    hub.repositories["someone/local"].files["model.safetensors"] = bytes(len(WEIGHTS))
    with pytest.raises(DamagedWeights, match="was recorded first"):
        fetched(hub, tmp_path / "second")


def test_a_record_that_cannot_be_read_keeps_no_files_from_being_removed(hub: Hub, tmp_path: Path) -> None:
    folder = fetched(hub, tmp_path)
    (folder / "metadata.json").write_text("{")
    for pin in (tmp_path / ".pins").iterdir():
        pin.unlink()
    assert remove(card(), tmp_path) > len(WEIGHTS)
    assert not folder.exists()


def test_other_bytes_under_the_recorded_revision_are_refused(hub: Hub, tmp_path: Path) -> None:
    fetched(hub, tmp_path)
    remove(card(), tmp_path)
    hub.repositories["someone/local"].files["model.safetensors"] = files.safetensors(values=50_000, seed=2)
    with pytest.raises(DamagedWeights, match=r"model.safetensors of someone/local has SHA-256 .*, was recorded first"):
        fetched(hub, tmp_path)


def test_the_cards_own_revision_and_hash_are_held(hub: Hub, tmp_path: Path) -> None:
    pinned = card(revision="3" * 40)
    with pytest.raises(HubRefused, match=f"someone/local at {'3' * 40}"):
        download(pinned, tmp_path, pauses_s=AT_ONCE)
    named = {**FP32, "files": ("config.json", "model.safetensors"), "sha256": {"model.safetensors": "0" * 64}}
    with pytest.raises(DamagedWeights, match=f"its card names {'0' * 64}"):
        download(card(variants=(named,)), tmp_path, pauses_s=AT_ONCE)


def test_a_damaged_file_is_found_by_verify_and_brought_again_by_download(hub: Hub, tmp_path: Path) -> None:
    folder = fetched(hub, tmp_path)
    verify(card(), folder)
    damaged = bytearray(WEIGHTS)
    damaged[-1] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    with pytest.raises(DamagedWeights, match=r"has SHA-256 .*, metadata.json recorded .*; remove it and run"):
        verify(card(), folder)
    fetched(hub, tmp_path)
    verify(card(), folder)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize("token", [None, "hf_nobody"])
def test_a_gated_model_says_which_licence_to_accept(
    hub: Hub, tmp_path: Path, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["someone/local"].gated = "hf_accepted"
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(GatedModel) as told:
        fetched(hub, tmp_path)
    assert told.value.page == "https://huggingface.co/someone/local"
    assert str(told.value) == (
        "Local is gated: accept its licence at https://huggingface.co/someone/local, log in with `hf auth login` or "
        "set HF_TOKEN, then run `pennyroute models download local` again"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    assert (fetched(hub, tmp_path) / "model.safetensors").is_file()


def test_a_token_stays_with_the_hub_when_a_redirect_leads_elsewhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running(Hub(repositories=hub.repositories)) as network:
        hub.blobs_at = network.url
        fetched(hub, tmp_path)
        assert network.fetched("model.safetensors") == [None]
        assert network.tokens == [None]
    assert hub.tokens[-1] == "Bearer hf_secret"


def test_models_of_packages_and_without_a_source_are_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    for card_id, words in (
        ("vader", "vader needs no download: its weights come with vaderSentiment==3.3.2"),
        ("toxicity-wordlist", "toxicity-wordlist needs no weights"),
        ("claude-sonnet", "claude-sonnet needs no weights"),
        ("paddleocr", "paddleocr cannot be downloaded: PaddleOCR (its card names no source); bring its files by hand"),
    ):
        with pytest.raises(MissingWeights) as told:
            download(load().get(card_id), tmp_path, pauses_s=AT_ONCE)
        assert str(told.value) == words
    assert hub.asked == []


def test_a_repository_that_is_not_there_is_refused_at_once(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubRefused, match=r"the hub has no someone/else that may be read \(HTTP 401\)"):
        download(card(hub_id="someone/else"), tmp_path, pauses_s=AT_ONCE)
    assert len(hub.asked) == 1


def test_the_disk_is_asked_before_anything_is_brought(hub: Hub, tmp_path: Path) -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 10**15

    hub.repositories["someone/local"].files["model.safetensors"] = Huge(WEIGHTS)
    with pytest.raises(DiskFull, match=r"local \(fp32\) needs 1000000257 MB of disk in .*, \d+ MB are free"):
        fetched(hub, tmp_path)
    assert hub.fetched("model.safetensors") == []


def test_weights_that_are_only_a_pickle_need_the_flag(hub: Hub, tmp_path: Path) -> None:
    del hub.repositories["someone/local"].files["model.safetensors"]
    with pytest.raises(UnsafeWeights, match=r"pytorch_model.bin only, which is a pickle"):
        fetched(hub, tmp_path)
    folder = fetched(hub, tmp_path, allow_pickle=True)
    assert (folder / "pytorch_model.bin").is_file()
    with pytest.raises(UnsafeWeights):
        verify(card(), folder)
    verify(card(), folder, allow_pickle=True)


@pytest.mark.parametrize("name", ["../escape.safetensors", "/etc/x.safetensors", "a/../../x.json", "..\\x.json"])
def test_a_name_that_leaves_its_folder_is_no_file_of_the_hub(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.repositories["someone/local"].files[name] = b"{}"
    fetched(hub, tmp_path / "models")
    assert {path.name for path in tmp_path.iterdir()} <= {"models", "hub-cache"}


def test_quantised_files_are_chosen_by_their_names(hub: Hub, tmp_path: Path) -> None:
    names = {"model-Q4_K_M.gguf": 3200, "model-Q8_0.gguf": 6400, "mmproj-Q8_0.gguf": 320}
    hub.repositories["someone/local"] = Repository(files={name: files.gguf(size) for name, size in names.items()})
    both = card(variants=({"name": "Q8_0", "format": "gguf"}, {"name": "Q4_K_M", "format": "gguf"}))
    found = download(both, tmp_path, variant=both.variants[1], pauses_s=AT_ONCE)
    assert sorted(path.name for path in found.folder.iterdir()) == ["metadata.json", "model-Q4_K_M.gguf"]
    download(both, tmp_path, variant=both.variants[0], pauses_s=AT_ONCE)
    assert sorted(path.name for path in (tmp_path / "local").iterdir()) == ["Q4_K_M", "Q8_0"]


def test_a_variant_the_hub_does_not_have_says_what_it_has(hub: Hub, tmp_path: Path) -> None:
    absent = card(variants=({"name": "Q2_K", "format": "gguf"},))
    with pytest.raises(HubRefused, match=r"no gguf weights of variant Q2_K are there; found 1_Pooling/config.json"):
        download(absent, tmp_path, pauses_s=AT_ONCE)


def test_the_first_use_downloads_where_that_is_allowed_and_says_how_where_not(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match="run `pennyroute models download local`"):
        ensure(card(), tmp_path, allowed=False)
    assert ensure(card(), tmp_path, allowed=True).folder == tmp_path / "local" / "fp32"
    assert ensure(card(), tmp_path, allowed=False).folder == tmp_path / "local" / "fp32"


def _ensure(models: Path, done: Any) -> None:
    done.put(str(ensure(card(), models, allowed=True).folder))


def test_processes_that_ask_at_once_download_once(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.slow_s = 0.2
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    spawn = multiprocessing.get_context("spawn")
    done = spawn.Queue()
    workers = [spawn.Process(target=_ensure, args=(tmp_path, done)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert {done.get(timeout=60) for _ in workers} == {str(tmp_path / "local" / "fp32")}
    for worker in workers:
        worker.join(timeout=60)
    assert len(hub.fetched("model.safetensors")) == 2  # the redirect, and the bytes once
    done.close()


def test_a_download_killed_half_way_goes_on_in_the_next_process(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = files.safetensors(values=1_000_000)
    hub.repositories["someone/local"].files["model.safetensors"] = large
    hub.stalls["model.safetensors"] = 3_000_000
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    spawn = multiprocessing.get_context("spawn")
    done = spawn.Queue()
    process = spawn.Process(target=_ensure, args=(tmp_path, done))
    process.start()
    part = tmp_path / ".partial" / "local--fp32" / "model.safetensors.part"
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 1 << 20) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.join()
    done.close()
    assert placed(card(), tmp_path) is None
    kept = part.stat().st_size
    hub.stalls.clear()
    folder = fetched(hub, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == large
    assert hub.fetched("model.safetensors")[-1] == f"bytes={kept}-"


def test_threads_that_ask_at_once_download_once(hub: Hub, tmp_path: Path) -> None:
    hub.slow_s = 0.1
    threads = [threading.Thread(target=lambda: ensure(card(), tmp_path, allowed=True)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub.fetched("model.safetensors")) == 2


def test_files_of_the_librarys_cache_are_taken_from_there(hub: Hub, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub-cache" / "models--someone--local" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(WEIGHTS)
    folder = fetched(hub, tmp_path / "models")
    assert hub.fetched("model.safetensors") == []
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert not (folder / "model.safetensors").is_symlink()


def test_downloads_and_removals_are_audited(hub: Hub, tmp_path: Path) -> None:
    record = manifest_of(fetched(hub, tmp_path))
    assert record is not None
    remove(card(), tmp_path)
    got, gone = entries(tmp_path)
    assert (got["deed"], got["card"], got["variant"], got["bytes"]) == ("download", "local", "fp32", record.bytes)
    assert got["detail"] == f"someone/local@{COMMIT}"
    assert "process" in got["who"]
    assert (gone["deed"], gone["card"]) == ("remove", "local")
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_a_crash_between_the_renames_of_a_repair_is_mended_by_the_next_download(hub: Hub, tmp_path: Path) -> None:
    folder = fetched(hub, tmp_path)
    part = tmp_path / ".partial" / "local--fp32"
    part.parent.mkdir(exist_ok=True)
    folder.rename(part)  # the new one is whole, the old one was moved away, then the power went
    (part / ".revision").write_text(COMMIT)
    asked = len(hub.fetched("model.safetensors"))
    assert fetched(hub, tmp_path) == folder
    assert len(hub.fetched("model.safetensors")) == asked
    assert json.loads((folder / "metadata.json").read_text())["revision"] == COMMIT
