"""Headers of weights: whole files of each format pass, cut and mangled ones are refused and nothing else happens."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.load import load
from registry.weights import DamagedWeights, UnsafeWeights, packaged_folder
from registry.weights.formats import check_file, check_folder
from tests.registry import files

MADE: dict[str, Callable[[], bytes]] = {
    "model.safetensors": files.safetensors,
    "model.gguf": files.gguf,
    "model.bin": files.ctranslate2,
    "model.onnx": files.onnx,
}


def verdict(path: Path) -> str | None:
    """What is wrong with this file; None where nothing is. Any other error ends the test."""
    try:
        check_file(path)
    except DamagedWeights as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", MADE)
def test_a_whole_file_passes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(MADE[name]())
    check_folder(tmp_path, [name])


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "model.bin"])
def test_a_file_that_lost_its_end_is_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(MADE[name]()[:-5])
    with pytest.raises(DamagedWeights, match=rf"{name} is no whole .* file: .*; remove it and download or bring it"):
        check_file(tmp_path / name)


@pytest.mark.parametrize("name", MADE)
def test_an_empty_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DamagedWeights):
        check_file(tmp_path / name)


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_mangled_file_passes_or_is_refused_and_never_breaks_the_reader(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(MADE[name]())
    head = min(len(content), 600)
    for at in data.draw(st.lists(st.integers(0, head - 1), max_size=6)):
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path_factory.mktemp("mangled") / name
    path.write_bytes(content)
    assert verdict(path) is None or str(path) in str(verdict(path))


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400))
def test_arbitrary_bytes_never_break_the_reader(
    name: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes((b"GGUF" if name.endswith("gguf") else b"") + content)
    assert verdict(path) is None or str(path) in str(verdict(path))


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, "'a' takes 12 bytes, its place is 8"),
        ({"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}, "'a' has the unknown type 'F99'"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}}, "'a' has the shape '[-1]'"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "a hole or an overlap at byte 0 of the data"),
        ({"a": 1}, "'a' is no object"),
        ([], "its header is no JSON object"),
    ],
)
def test_a_safetensors_header_that_does_not_fit_its_data_is_told(table: object, what: str, tmp_path: Path) -> None:
    header = json.dumps(table).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(DamagedWeights) as told:
        check_file(tmp_path / "model.safetensors")
    assert what in str(told.value)


def test_a_safetensors_header_longer_than_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(DamagedWeights, match="a header of 1152921504606846976 bytes"):
        check_file(tmp_path / "model.safetensors")


def test_a_gguf_of_an_unknown_version_is_refused(tmp_path: Path) -> None:
    content = bytearray(files.gguf())
    content[4:8] = struct.pack("<I", 1)
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(DamagedWeights, match="version 1, known are 2 and 3"):
        check_file(tmp_path / "model.gguf")


@pytest.mark.skipif(find_spec("gguf") is None, reason="the gguf package is not installed")
def test_a_gguf_written_by_its_own_package_passes(tmp_path: Path) -> None:
    import gguf  # noqa: PLC0415  (only where it is installed)
    import numpy as np  # noqa: PLC0415

    writer = gguf.GGUFWriter(str(tmp_path / "model.gguf"), "llama")
    writer.add_token_list([f"w{number}" for number in range(300)])
    writer.add_token_scores([0.5] * 300)
    writer.add_tensor("token_embd.weight", np.zeros((300, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check_file(tmp_path / "model.gguf")


@pytest.mark.parametrize("card_id", ["minilm-l6-builtin", "ppocr-rapidocr"])
def test_real_weights_of_a_package_pass(card_id: str) -> None:
    card = load().get(card_id)
    folder = packaged_folder(card)
    assert folder is not None
    check_folder(folder, [Path(name).name for variant in card.variants for name in variant.files or ()])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.bin", "model.ckpt"])
def test_a_pickle_is_refused_unless_it_is_allowed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"weight": [1.0]}))
    with pytest.raises(UnsafeWeights, match=r"is a pickle, which can run code .* --allow-pickle"):
        check_folder(tmp_path, [name])
    check_folder(tmp_path, [name], allow_pickle=True)


def test_a_pickle_in_a_zip_is_one_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    with pytest.raises(UnsafeWeights):
        check_folder(tmp_path, ["model.bin"])


def test_a_pickle_beside_safetensors_is_left_alone_because_loaders_take_the_safe_one(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(1))
    (tmp_path / "model.safetensors").write_bytes(files.safetensors())
    check_folder(tmp_path, ["pytorch_model.bin", "model.safetensors"])


def test_a_program_among_the_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("import os")
    with pytest.raises(UnsafeWeights, match="is a program, not weights"):
        check_folder(tmp_path, ["modeling.py"])


@pytest.mark.parametrize("in_node", [False, True])
def test_an_onnx_file_may_keep_its_data_beside_it_and_nowhere_else(in_node: bool, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(files.onnx("model.onnx_data", in_node=in_node))
    with pytest.raises(DamagedWeights, match=r"its data file 'model.onnx_data' is not beside it"):
        check_file(tmp_path / "model.onnx")
    (tmp_path / "model.onnx_data").write_bytes(b"data")
    check_file(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(files.onnx("../../etc/passwd", in_node=in_node))
    with pytest.raises(UnsafeWeights, match=r"would read its data from '../../etc/passwd', outside its folder"):
        check_file(tmp_path / "model.onnx")
