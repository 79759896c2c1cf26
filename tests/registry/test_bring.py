"""Weights brought by hand: recognised, judged, copied or linked, recorded; removed again; found by a scan."""

from __future__ import annotations

import json
import os
import pickle
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.load import Registry, load
from registry.schema import Card
from registry.weights import (
    DamagedWeights,
    MissingWeights,
    UnsafeWeights,
    audit,
    bring,
    entries,
    every_placed,
    local_folder,
    manifest_of,
    missing,
    placed,
    remove,
    scan_hub_cache,
    scan_models,
    verify,
)
from registry.weights.folders import safe_name
from registry.weights.manifest import FileFacts, read_manifest, recorded, write_manifest
from tests.registry import files
from tests.registry.cards import local

VARIANTS = (
    {"name": "Q4_K_M", "format": "gguf"},
    {"name": "fp32", "format": "safetensors", "engine": "onnxruntime"},
)


@pytest.fixture
def card() -> Card:
    return local(variants=VARIANTS)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """What somebody carried here on a disk: a BERT, with a README."""
    folder = tmp_path / "carried"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(files.safetensors())
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    return folder


def test_files_brought_by_hand_are_recognised_copied_and_recorded(card: Card, origin: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    found = bring(card, origin, models)
    assert found.folder == models / "local" / "fp32"
    names = ["config.json", "metadata.json", "model.safetensors", "tokenizer.json"]
    assert sorted(path.name for path in found.folder.iterdir()) == names
    record = manifest_of(found.folder)
    assert record is not None
    assert (record.source, record.revision, record.variant) == ("import", None, "fp32")
    assert stat.S_IMODE((found.folder / "model.safetensors").stat().st_mode) == 0o600
    assert missing(card, models) is None
    verify(card, found.folder)
    (line,) = entries(models)
    assert (line["deed"], line["card"], line["variant"], line["detail"]) == ("import", "local", "fp32", str(origin))


def test_a_linked_import_takes_no_second_place_on_the_disk(card: Card, origin: Path, tmp_path: Path) -> None:
    found = bring(card, origin, tmp_path / "models", link=True)
    assert (found.folder / "model.safetensors").stat().st_ino == (origin / "model.safetensors").stat().st_ino


def test_links_of_the_hub_librarys_cache_are_followed_and_become_files(
    card: Card, origin: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        (snapshot / name).symlink_to(origin / name)
    found = bring(card, snapshot, tmp_path / "models")
    assert not (found.folder / "model.safetensors").is_symlink()
    assert (found.folder / "model.safetensors").read_bytes() == (origin / "model.safetensors").read_bytes()


def test_a_folder_that_holds_none_of_the_cards_variants_is_refused(card: Card, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    with pytest.raises(MissingWeights, match=r"holds no variant of local \(it has Q4_K_M, fp32\)"):
        bring(card, tmp_path / "other", tmp_path / "models")
    with pytest.raises(MissingWeights, match="is no folder; name the one that holds the files of local"):
        bring(card, tmp_path / "nowhere", tmp_path / "models")


def test_damaged_and_unsafe_files_are_refused_before_anything_is_copied(
    card: Card, origin: Path, tmp_path: Path
) -> None:
    whole = (origin / "model.safetensors").read_bytes()
    (origin / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(DamagedWeights, match="is no whole safetensors file"):
        bring(card, origin, tmp_path / "models")
    (origin / "model.safetensors").unlink()
    (origin / "pytorch_model.bin").write_bytes(pickle.dumps(1))
    with pytest.raises(UnsafeWeights, match="--allow-pickle"):
        bring(card, origin, tmp_path / "models")
    assert not (tmp_path / "models").exists()


FIRST = ("config.json", "model.safetensors")


@pytest.mark.parametrize(
    ("engine", "queue", "beside", "lacks"),
    [
        ("onnxruntime", "embeddings", FIRST, "tokenizer.json, or vocab.txt, or vocab.json with merges.txt"),
        ("onnxruntime", "embeddings", (*FIRST, "vocab.json"), "tokenizer.json, or vocab.txt, or vocab.json with"),
        ("onnxruntime", "embeddings", (*FIRST, "vocab.json", "merges.txt"), None),
        ("onnxruntime", "embeddings", ("model.safetensors", "tokenizer.json"), "config.json"),
        ("onnxruntime", "vision", (*FIRST, "tokenizer.json"), "preprocessor_config.json"),
        ("transformers", "document", (*FIRST, "preprocessor_config.json"), "tokenizer.json, or vocab.txt, or "),
        ("transformers", "document", (*FIRST, "tokenizer.json"), "preprocessor_config.json, or processor_config.json"),
        ("transformers", "document", (*FIRST, "sentencepiece.bpe.model", "preprocessor_config.json"), None),
        ("transformers", "llm", (*FIRST, "tokenizer.json"), None),
    ],
)
def test_a_folder_that_lacks_what_its_engine_needs_is_refused_with_the_files(
    tmp_path: Path, engine: str, queue: str, beside: tuple[str, ...], lacks: str | None
) -> None:
    card = local(queue=queue, variants=({"name": "fp32", "format": "safetensors", "engine": engine},))
    for name in beside:
        (tmp_path / "carried").mkdir(exist_ok=True)
        (tmp_path / "carried" / name).write_bytes(files.safetensors() if name == "model.safetensors" else b"{}")
    if lacks is None:
        assert bring(card, tmp_path / "carried", tmp_path / "models").variant == card.variants[0]
        return
    with pytest.raises(MissingWeights) as told:
        bring(card, tmp_path / "carried", tmp_path / "models")
    assert str(told.value).startswith(f"{tmp_path / 'carried'} lacks {lacks}")
    assert str(told.value).endswith(": local cannot be loaded without; add the hub's own")
    assert not (tmp_path / "models").exists()


def test_a_whisper_without_tokenizer_or_vocabulary_is_refused_and_a_gguf_needs_nothing_more(tmp_path: Path) -> None:
    whisper = local(queue="audio", variants=({"name": "fp16", "format": "ctranslate2"},))
    (tmp_path / "ct2").mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (tmp_path / "ct2" / name).write_bytes(files.ctranslate2() if name == "model.bin" else b"{}")
    with pytest.raises(MissingWeights, match=r"lacks vocabulary\.txt, or vocabulary\.json: local cannot be loaded"):
        bring(whisper, tmp_path / "ct2", tmp_path / "models")
    (tmp_path / "ct2" / "vocabulary.txt").write_text("word")
    assert bring(whisper, tmp_path / "ct2", tmp_path / "models").variant == whisper.variants[0]
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "any-Q4_K_M.gguf").write_bytes(files.gguf())
    assert bring(local(variants=VARIANTS), tmp_path / "gguf", tmp_path / "models").folder.name == "Q4_K_M"


@pytest.mark.parametrize("content", [b"", b"{", b'{"model_type": }', b"\xff\xfe\x00", b"[" * 100_000])
def test_a_json_file_that_is_none_is_refused(card: Card, origin: Path, tmp_path: Path, content: bytes) -> None:
    (origin / "config.json").write_bytes(content)
    with pytest.raises(DamagedWeights, match=r"config\.json is no JSON \(.*\); bring the right file"):
        bring(card, origin, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", ["notes.txt", "config.json", "metadata.json", "deep/model.safetensors"])
def test_a_fifo_among_the_files_is_refused_before_it_is_opened(
    card: Card, origin: Path, tmp_path: Path, name: str
) -> None:
    (origin / name).unlink(missing_ok=True)
    (origin / name).parent.mkdir(exist_ok=True)
    os.mkfifo(origin / name)
    with pytest.raises(UnsafeWeights, match="is a FIFO and no file; take it out of the folder"):
        bring(card, origin, tmp_path / "models")


def test_a_socket_and_a_link_that_leads_nowhere_are_refused(card: Card, origin: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(origin / "s"))
        with pytest.raises(UnsafeWeights, match="/s is a socket and no file; take it out of the folder"):
            bring(card, origin, tmp_path / "models")
    (origin / "s").unlink()
    (origin / "tokenizer.json").unlink()
    (origin / "tokenizer.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(
        MissingWeights, match=r"tokenizer\.json is a link that leads nowhere; put the file itself there"
    ):
        bring(card, origin, tmp_path / "models")


def test_hashes_of_the_card_and_of_a_record_that_came_along_are_held(card: Card, origin: Path, tmp_path: Path) -> None:
    named = {"name": "a", "format": "gguf", "files": ("a.gguf",), "sha256": {"a.gguf": "0" * 64}}
    (origin / "a.gguf").write_bytes(files.gguf())
    with pytest.raises(DamagedWeights, match=f"its card names {'0' * 64}; bring the right file"):
        bring(local(variants=(named,)), origin, tmp_path / "models")
    first = bring(card, origin, tmp_path / "first")
    (first.folder / "config.json").write_text("[]")
    with pytest.raises(DamagedWeights, match=r"config.json has SHA-256 .*, metadata.json"):
        bring(card, first.folder, tmp_path / "second")


def test_two_variants_lie_side_by_side_and_one_can_be_removed(card: Card, origin: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    bring(card, origin, models)
    (tmp_path / "quantised").mkdir()
    (tmp_path / "quantised" / "any-Q4_K_M.gguf").write_bytes(files.gguf())
    bring(card, tmp_path / "quantised", models)
    assert {each.folder.name for each in every_placed(card, models)} == {"Q4_K_M", "fp32"}
    assert remove(card, models, variant=card.variants[0]) > 3000
    found = placed(card, models)
    assert found is not None
    assert found.folder.name == "fp32"


def test_files_put_straight_into_the_cards_folder_work_without_a_record(
    card: Card, origin: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    origin.rename(models / "local")
    found = placed(card, models)
    assert found is not None
    assert (found.folder, found.variant and found.variant.name) == (models / "local", "fp32")
    verify(card, found.folder)
    assert remove(card, models) > 16_000
    assert not (models / "local").exists()
    with pytest.raises(MissingWeights, match="local has no weights here to remove"):
        remove(card, models)


def test_a_single_quantised_file_of_any_name_is_the_variant(tmp_path: Path) -> None:
    card = local(variants=VARIANTS[:1])
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "whatever.gguf").write_bytes(files.gguf())
    assert local_folder(card, tmp_path) == tmp_path / "local"
    (tmp_path / "local" / "whatever.gguf").rename(tmp_path / "local" / "model-Q8_0.gguf")
    assert local_folder(card, tmp_path) is None


def test_links_that_leave_the_models_folder_are_not_used(card: Card, origin: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "local").symlink_to(origin, target_is_directory=True)
    assert placed(card, models) is None
    assert missing(card, models) == (
        f"{models / 'local'} is a link that leaves the models folder; "
        f"run `pennyroute models import {models / 'local'} local`."
    )
    with pytest.raises(UnsafeWeights, match="remove the link yourself"):
        remove(card, models)
    assert (origin / "model.safetensors").exists()


def test_a_file_that_is_a_link_out_of_its_folder_is_refused_before_it_is_read(card: Card, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "local"
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "model.safetensors").write_bytes(files.safetensors())
    (folder / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeWeights, match="is a link that leaves its folder; put the file itself there"):
        verify(card, folder)


def test_what_the_record_names_must_be_there_with_its_size(card: Card, origin: Path, tmp_path: Path) -> None:
    folder = bring(card, origin, tmp_path / "models").folder
    (folder / "config.json").write_text("longer than before")
    with pytest.raises(DamagedWeights, match=r"config.json has 18 bytes, metadata.json says 2"):
        verify(card, folder)
    (folder / "config.json").unlink()
    with pytest.raises(DamagedWeights, match=r"config.json is gone, metadata.json names it"):
        verify(card, folder)


def test_models_of_packages_are_neither_brought_nor_removed(origin: Path, tmp_path: Path) -> None:
    vader = load().get("vader")
    with pytest.raises(MissingWeights, match=r"its weights come with vaderSentiment==3.3.2"):
        bring(vader, origin, tmp_path)
    with pytest.raises(MissingWeights, match="run `pip uninstall vaderSentiment`"):
        remove(vader, tmp_path)


def test_a_scan_tells_whole_broken_and_foreign_folders_apart(card: Card, origin: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    bring(card, origin, models)
    for name in ("stranger", "broken", "onnx"):
        (models / name).mkdir()
        (models / name / "file").write_bytes(b"12345")
    registry = Registry(
        cards={"local": card, "broken": local(id="broken", variants=VARIANTS)},
        by_alias={},
        by_task={},
        by_role={},
        version="0" * 64,
    )
    found = {each.name: (each.card, each.variant, each.whole) for each in scan_models(registry, models)}
    assert found == {
        "local": ("local", "fp32", True),
        "stranger": (None, None, False),
        "broken": ("broken", None, False),
    }


def test_a_scan_reads_the_hub_librarys_cache(tmp_path: Path) -> None:
    repository = tmp_path / "models--BAAI--bge-small-en-v1.5"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    (repository / "blobs" / "abc").write_bytes(b"12345")
    os.symlink("../../blobs/abc", repository / "snapshots" / ("1" * 40) / "config.json")
    (found,) = scan_hub_cache(load(), tmp_path)
    assert (found.name, found.card, found.bytes) == ("BAAI/bge-small-en-v1.5", "bge-small-en-v1.5", 5)
    assert scan_hub_cache(load(), tmp_path / "nowhere") == []


@given(text=st.text(max_size=80))
def test_a_safe_name_stays_inside_any_folder(text: str) -> None:
    try:
        name = safe_name(text)
    except UnsafeWeights:
        return
    assert (Path("/models/card") / name).resolve().is_relative_to("/models/card")
    assert not name.startswith((".", "/"))


RECORD = recorded(
    "local",
    "fp32",
    {"model.safetensors": FileFacts(bytes=5, sha256="a" * 64)},
    datetime(2026, 11, 20, tzinfo=UTC),
    hub_id="someone/local",
    revision="1" * 40,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_mangled_record_is_read_or_refused_and_never_breaks_the_reader(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("record") / "metadata.json"
    write_manifest(file, RECORD)
    told = json.loads(file.read_text())
    spoilt = data.draw(st.sampled_from([*told, "files.model.safetensors"]))
    value = data.draw(st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
    told["files" if spoilt.startswith("files") else spoilt] = {"../x": value} if spoilt.startswith("files.") else value
    file.write_text(json.dumps(told))
    try:
        found = read_manifest(file)
    except DamagedWeights:
        return
    assert found is not None
    assert set(found.files) == {"model.safetensors"}


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_no_record(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("record") / "metadata.json"
    file.write_bytes(content)
    with pytest.raises(DamagedWeights, match="is no record of weights"):
        read_manifest(file)


def test_the_journal_survives_a_line_that_was_cut_and_turns_over(tmp_path: Path) -> None:
    audit(tmp_path, "load", "local", "fp32", bytes_=7, who="worker 3")
    with (tmp_path / "audit.jsonl").open("a") as journal:
        journal.write('{"deed": "unl')
    first = next(entries(tmp_path))
    assert (first["deed"], first["bytes"], first["who"]) == ("load", 7, "worker 3")
    with (tmp_path / "audit.jsonl").open("ab") as journal:
        journal.write(b"\n" + b" " * (8 << 20))
    audit(tmp_path, "unload", "local")
    assert [each["deed"] for each in entries(tmp_path)] == ["load", "unload"]
    assert (tmp_path / "audit.jsonl").stat().st_size < 1000
