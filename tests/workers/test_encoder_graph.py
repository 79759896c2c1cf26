"""Every architecture's graph gives what transformers gives on the same files: odd lengths, padding, pairs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from registry.load import load
from registry.schema import Card, Variant
from registry.weights.errors import DamagedWeights
from tests.tiny.encoders import MODELS, TEXTS, gte_config
from workers.encoder.architecture import UnsupportedModel, read_architecture
from workers.encoder.disentangled import bucket_rows
from workers.encoder.model import Model, open_model
from workers.encoder.pooling import pooled
from workers.encoder.session import open_written
from workers.encoder.tensors import find_tensors
from workers.modality import Code, Machine, WorkerError

VECTORS = {
    "all-minilm-l6-v2": "mean",
    "bge-small-en-v1.5": "cls",
    "multilingual-e5-small": "mean",
    "bge-m3": "cls",
    "gte-multilingual-base": "cls",
}
CLASSIFIERS = ("ms-marco-minilm-l12-v2", "distilbert-sst2", "roberta-toxicity", "mdeberta-mnli-xnli")
LENGTHS = (1, 2, 3, 7, 16, 33, 64)  # words of one batch: much padding


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with every tiny encoder."""
    folder = tmp_path_factory.mktemp("encoders")
    for name, make in MODELS.items():
        (folder / name).mkdir()
        make(folder / name)
    return folder


@cache
def opened(folders: Path, name: str) -> Model:
    return open_model(load().get(name), Machine(models_dir=folders), VECTORS.get(name, "logits"))  # type: ignore[arg-type]


def sentences(lengths: tuple[int, ...]) -> list[str]:
    words = " ".join(TEXTS).split()
    return [" ".join(words[(start + place) % len(words)] for place in range(n)) for start, n in enumerate(lengths)]


def padded(encodings: list[Any]) -> tuple[Any, Any, Any]:
    shape = len(encodings), max(len(each.ids) for each in encodings)
    ids, mask, types = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    for row, each in enumerate(encodings):
        size = len(each.ids)
        ids[row, :size], mask[row, :size], types[row, :size] = each.ids, 1, each.types
    return ids, mask, types


@cache
def torch_model(folder: Path, name: str) -> Any:
    torch.set_num_threads(1)  # two collapse on a busy machine
    kind = transformers.AutoModelForSequenceClassification if name in CLASSIFIERS else transformers.AutoModel
    more = {"config": gte_config()} if name == "gte-multilingual-base" else {}
    return kind.from_pretrained(folder, attn_implementation="eager", **more).eval()


def with_torch(folder: Path, name: str, ids: Any, mask: Any, types: Any) -> Any:
    """What transformers computes, with padding ids of the model's own."""
    model = torch_model(folder, name)
    config = model.config
    ids = np.where(mask == 1, ids, config.pad_token_id or 0)
    given = {"input_ids": ids, "attention_mask": mask}
    if getattr(config, "type_vocab_size", 0) > 1:
        given["token_type_ids"] = types
    with torch.no_grad():
        answer = model(**{key: torch.from_numpy(value) for key, value in given.items()})
    return answer.logits.numpy() if name in CLASSIFIERS else answer.last_hidden_state.numpy()


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_those_of_transformers(folders: Path, name: str) -> None:
    model = opened(folders, name)
    batch = padded(model.reader.read(sentences(LENGTHS)))
    states = with_torch(folders / name, name, *batch)
    expected = pooled(states, batch[1], VECTORS[name])  # type: ignore[arg-type]
    found = model.engine.run(*batch)
    assert found.shape == (7, load().get(name).dimensions)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - found[0]).max() > 0.01, "another text has another vector"


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_of_texts_are_those_of_transformers(folders: Path, name: str) -> None:
    model = opened(folders, name)
    batch = padded(model.reader.read(sentences(LENGTHS)))
    np.testing.assert_allclose(model.engine.run(*batch), with_torch(folders / name, name, *batch), atol=2e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_of_pairs_are_those_of_transformers(folders: Path, name: str) -> None:
    model = opened(folders, name)
    pairs = list(zip(sentences(LENGTHS), reversed(sentences((5, 9, 2, 1, 30, 8, 4))), strict=True))
    batch = padded(model.reader.read_pairs(pairs, "only_first"))
    found = model.engine.run(*batch)
    np.testing.assert_allclose(found, with_torch(folders / name, name, *batch), atol=2e-5)
    assert np.ptp(found, axis=0).min() > 0.01, "another pair has other logits"


@pytest.mark.parametrize("name", [*VECTORS, *CLASSIFIERS])
def test_the_longest_text_is_that_of_the_model_and_its_card(folders: Path, name: str) -> None:
    model = opened(folders, name)
    limits = {"all-minilm-l6-v2": 256, "bge-m3": 1024, "gte-multilingual-base": 8192}
    assert model.reader.limit == limits.get(name, 512)


@pytest.mark.parametrize("name", ["bge-m3", "roberta-toxicity", "mdeberta-mnli-xnli", "gte-multilingual-base"])
def test_a_text_of_512_tokens_is_read_as_transformers_reads_it(folders: Path, name: str) -> None:
    model = opened(folders, name)
    rows = np.random.default_rng(4).integers(5, 200, (2, 512))
    mask, types = np.ones_like(rows), np.zeros_like(rows)
    mask[1, 300:] = 0
    expected = with_torch(folders / name, name, rows, mask, types)
    if name in VECTORS:
        expected = pooled(expected, mask, "cls")
    np.testing.assert_allclose(model.engine.run(rows, mask, types), expected, atol=5e-5)


def test_every_distance_falls_into_the_bucket_that_transformers_puts_it_in() -> None:
    distances = torch.arange(-511, 512)
    theirs = make_log_bucket_position(distances, 256, 512).to(torch.long) + 256
    assert bucket_rows(512, 256).tolist() == theirs.clamp(0, 511).tolist()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_weights_of_half_the_width_are_read_as_they_are(folders: Path, tmp_path: Path, kind: str) -> None:
    name = "roberta-toxicity"
    weights = {
        key: value.to(getattr(torch, kind)) for key, value in load_file(folders / name / "model.safetensors").items()
    }
    for file in (folders / name).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(weights, tmp_path / "model.safetensors")
    engine = open_written(read_architecture(tmp_path), find_tensors(tmp_path), "logits", Machine(models_dir=tmp_path))
    save_file({key: value.float() for key, value in weights.items()}, tmp_path / "model.safetensors")
    batch = padded(opened(folders, name).reader.read(sentences(LENGTHS)))
    np.testing.assert_allclose(engine.run(*batch), with_torch(tmp_path, name, *batch), atol=2e-5)


def test_weights_in_several_files_are_found(folders: Path, tmp_path: Path) -> None:
    name, folder = "distilbert-sst2", tmp_path / "distilbert-sst2"
    folder.mkdir()
    weights = load_file(folders / name / "model.safetensors")
    split = {key: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, key in enumerate(weights)}
    for file in sorted(set(split.values())):
        save_file({key: weights[key] for key in weights if split[key] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": split}))
    for file in ("config.json", "vocab.txt"):
        (folder / file).write_bytes((folders / name / file).read_bytes())
    batch = padded(opened(folders, name).reader.read(sentences(LENGTHS)))
    found = opened(tmp_path, name).engine.run(*batch)
    np.testing.assert_array_equal(found, opened(folders, name).engine.run(*batch))


def copied(folder: Path, target: Path, **config: Any) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    changed = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(changed))
    return target


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("all-minilm-l6-v2", {"position_embedding_type": "relative_key"}, "only 'absolute' can be run without torch"),
        ("all-minilm-l6-v2", {"hidden_act": "swish"}, "activation = 'swish'; known are gelu, gelu_new"),
        ("all-minilm-l6-v2", {"model_type": "electra"}, "model_type = 'electra'; without torch run bert, distilbert"),
        ("mdeberta-mnli-xnli", {"share_att_key": False}, "share_att_key = False; only True"),
        ("mdeberta-mnli-xnli", {"conv_kernel_size": 3}, "conv_kernel_size = 3; only 0"),
        ("mdeberta-mnli-xnli", {"pos_att_type": ["c2p"]}, "only pos_att_type c2p|p2c with position_buckets"),
        ("gte-multilingual-base", {"rope_scaling": {"type": "yarn", "factor": 2}}, "only type 'ntk'"),
        ("gte-multilingual-base", {"pack_qkv": False}, "pack_qkv = False; only True"),
    ],
)
def test_an_architecture_no_graph_is_written_for_is_refused_by_name(
    folders: Path, tmp_path: Path, name: str, config: dict[str, Any], said: str
) -> None:
    folder = copied(folders / name, tmp_path / name, **config)
    with pytest.raises(UnsupportedModel) as told:
        read_architecture(folder)
    assert said in str(told.value)


def test_what_no_graph_is_written_for_runs_through_transformers(folders: Path, tmp_path: Path) -> None:
    folder = tmp_path / "distilbert-sst2"
    config = transformers.ElectraConfig(
        vocab_size=420, embedding_size=32, hidden_size=64, num_attention_heads=4, num_hidden_layers=2, num_labels=2
    )
    transformers.ElectraForSequenceClassification(config).eval().save_pretrained(folder)
    (folder / "vocab.txt").write_bytes((folders / "distilbert-sst2" / "vocab.txt").read_bytes())
    model = opened(tmp_path, "distilbert-sst2")
    batch = padded(model.reader.read(sentences(LENGTHS)))
    np.testing.assert_allclose(model.engine.run(*batch), with_torch(folder, "distilbert-sst2", *batch), atol=1e-5)


def exported_card() -> Card:
    return load().get("bge-m3").model_copy(update={"variants": (Variant(name="exported", format="onnx"),)})


def test_an_exported_file_is_run_where_there_are_no_safetensors(folders: Path, tmp_path: Path) -> None:
    """As BAAI/bge-m3 is published: onnx/model.onnx, whose weights lie beside it."""
    import onnx  # noqa: PLC0415 - for this test alone

    from workers.encoder.write import write_graph  # noqa: PLC0415 - likewise

    name = "bge-m3"
    folder = copied(folders / name, tmp_path / name)
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").rename(folder / "onnx" / "model.safetensors")
    tensors = find_tensors(folder / "onnx")
    onnx.save(write_graph(read_architecture(folder), tensors, "cls"), folder / "onnx" / "model.onnx")
    batch = padded(opened(folders, name).reader.read(sentences(LENGTHS)))
    model = open_model(exported_card(), Machine(models_dir=tmp_path), "cls")
    np.testing.assert_allclose(model.engine.run(*batch), opened(folders, name).engine.run(*batch), atol=1e-5)
    assert model.reader.limit == 2048, "its card's 8,192 would take gigabytes in a graph that is not ours"


def test_the_states_an_exported_file_gives_are_pooled(folders: Path, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save  # noqa: PLC0415 - for this test alone

    folder = copied(folders / "bge-m3", tmp_path / "bge-m3")
    (folder / "model.safetensors").unlink()
    table = np.random.default_rng(1).normal(size=(420, 1024)).astype(np.float32)
    words = helper.make_tensor("words", TensorProto.FLOAT, table.shape, table.tobytes(), raw=True)
    axes = ["batch", "tokens"]
    names = ("input_ids", "attention_mask")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["words", "input_ids"], ["last_hidden_state"])],
        "states",
        [helper.make_tensor_value_info(each, TensorProto.INT64, axes) for each in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*axes, 1024])],
        [words],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx")
    ids = np.array([[5, 9, 0], [7, 8, 9]])
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    model = open_model(exported_card(), Machine(models_dir=tmp_path), "cls")
    found = model.engine.run(ids, mask, np.zeros_like(ids))
    np.testing.assert_allclose(found, table[[5, 7]] / np.linalg.norm(table[[5, 7]], axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"no"])
def test_a_damaged_file_is_told_before_anything_reads_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(DamagedWeights):
        find_tensors(tmp_path)


def test_an_index_that_points_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(DamagedWeights, match=r"names '\.\./secret\.safetensors', which is not a file beside it"):
        find_tensors(tmp_path)


def refusal(card: Card, models_dir: Path, head: Any) -> WorkerError:
    with pytest.raises(WorkerError) as told:
        open_model(card, Machine(models_dir=models_dir), head)
    return told.value


def test_a_tokenizer_of_another_model_is_told_at_loading(folders: Path, tmp_path: Path) -> None:
    copied(folders / "ms-marco-minilm-l12-v2", tmp_path / "ms-marco-minilm-l12-v2", vocab_size=200)
    error = refusal(load().get("ms-marco-minilm-l12-v2"), tmp_path, "logits")
    assert error.code is Code.INVALID_CONFIG
    assert "its config.json 200: they do not belong" in error.message


def test_weights_without_a_classifier_are_told_at_loading(folders: Path, tmp_path: Path) -> None:
    folder = copied(folders / "all-minilm-l6-v2", tmp_path / "ms-marco-minilm-l12-v2")
    with pytest.raises(UnsupportedModel, match=r"the weights have no tensor 'pooler\.dense\.weight'"):
        open_written(read_architecture(folder), find_tensors(folder), "logits", Machine(models_dir=tmp_path))


def test_a_model_without_a_vocabulary_is_told_at_loading(folders: Path, tmp_path: Path) -> None:
    folder = copied(folders / "all-minilm-l6-v2", tmp_path / "all-minilm-l6-v2")
    for file in ("tokenizer.json", "vocab.txt"):
        (folder / file).unlink()
    error = refusal(load().get("all-minilm-l6-v2"), tmp_path, "mean")
    assert error.code is Code.MODEL_LOAD_FAILED
    assert "has neither tokenizer.json nor vocab.txt nor vocab.json with merges.txt" in error.message


def test_a_machine_without_the_gpu_it_speaks_of_runs_on_its_processor(folders: Path) -> None:
    name = "roberta-toxicity"
    model = open_model(load().get(name), Machine(models_dir=folders, device="cuda"), "logits")
    batch = padded(model.reader.read(sentences(LENGTHS)))
    np.testing.assert_allclose(model.engine.run(*batch), opened(folders, name).engine.run(*batch), atol=1e-3)


def test_padding_changes_nothing(folders: Path) -> None:
    for name in [*VECTORS, *CLASSIFIERS]:
        model = opened(folders, name)
        ids, mask, types = padded(model.reader.read(sentences(LENGTHS)))
        alone = [
            model.engine.run(ids[n : n + 1, :k], mask[n : n + 1, :k], types[n : n + 1, :k])
            for n, k in enumerate(mask.sum(axis=1))
        ]
        np.testing.assert_allclose(model.engine.run(ids, mask, types), np.concatenate(alone), atol=2e-5)


def test_what_nobody_can_run_says_why_neither_can(folders: Path, tmp_path: Path) -> None:
    copied(folders / "all-minilm-l6-v2", tmp_path / "all-minilm-l6-v2", model_type="perceptor")
    error = refusal(load().get("all-minilm-l6-v2"), tmp_path, "mean")
    assert error.code is Code.INVALID_CONFIG
    assert "model_type = 'perceptor'; without torch run bert, distilbert, roberta" in error.message
    assert "transformers cannot either: " in error.message
