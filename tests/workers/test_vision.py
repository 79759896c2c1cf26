"""CLIP on a tiny model of its true architecture: equal to Hugging Face's CLIPModel, and what it tells of pictures.
What a picture shows cannot be asserted without the real weights; that the same numbers come out can."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from registry.load import load
from registry.schema import Task
from tests.tiny.vision import END, MODELS, make_clip
from workers import vision
from workers.modality import Batch, Code, Item, Machine, Picture, WorkerError
from workers.seeing import clip as clip_room
from workers.seeing.clip import Clip, open_clip
from workers.seeing.pixels import read_lens
from workers.seeing.shapes import UnsupportedTower, read_shapes

CARD = "openclip-vit-b-32"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models_dir = tmp_path_factory.mktemp("models")
    (models_dir / CARD).mkdir()
    MODELS[CARD](models_dir / CARD)
    return models_dir


@pytest.fixture(scope="module")
def clip(models_dir: Path) -> Clip:
    return vision.load(load().get(CARD), Machine(models_dir=models_dir))


def scene(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Four by three fields of strong colours."""
    dots = np.random.default_rng(seed).integers(0, 2, (3, 4, 3), dtype=np.uint8) * 255
    return Image.fromarray(dots).resize((width, height), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


IMAGE = encoded(scene(1))


def picture(data: bytes) -> Picture:
    return Picture(content_type="image/x", data=data)


def see(clip: Clip, *images: bytes, query: str | None = None, **options: Any) -> Any:
    item = Item(media=tuple(map(picture, images)), query=query, options=options)
    (result,) = vision.infer(clip, Batch(task=Task.VISION, items=(item,)))
    if not isinstance(result, WorkerError):
        msgpack.packb(result)  # what travels is numbers, texts, lists and tables of Python's own
    return result


def refusal(clip: Clip, *images: bytes, query: str | None = None, **options: Any) -> str:
    error = see(clip, *images, query=query, **options)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    return error.message


def vector(clip: Clip, image: bytes) -> Any:
    return np.array(see(clip, image)["results"][0]["embedding"])


# Equal to the library the weights were published for


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_both_towers_give_what_the_reference_gives(tmp_path: Path, activation: str) -> None:
    import torch  # noqa: PLC0415 - seconds that the other tests do not need
    from transformers import CLIPModel  # noqa: PLC0415 - as above

    make_clip(tmp_path, activation)
    ours, theirs = open_clip(tmp_path, Machine(models_dir=tmp_path)), CLIPModel.from_pretrained(tmp_path).eval()
    squares = [ours.lens.square(scene(seed, 90 + seed, 70)) for seed in range(3)]
    texts = ["a cat", "two people under a tree by night, and a green square", "7"]
    with torch.inference_mode():
        seen = theirs.get_image_features(torch.tensor(ours.lens.pixels(squares))).pooler_output.numpy()
        read = np.concatenate(
            [
                theirs.get_text_features(torch.tensor([ours.tokenizer.encode(text).ids])).pooler_output.numpy()
                for text in texts
            ]
        )
    assert np.abs(ours.seen(squares) - unit(seen)).max() < 1e-5
    assert np.abs(ours.read(texts) - unit(read)).max() < 1e-5
    assert ours.scale == pytest.approx(100.0, abs=0.01)


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(640, 480), (481, 641), (224, 224), (100, 37), (1000, 301), (9, 8), (225, 3000)])
def test_pixels_are_prepared_exactly_as_the_reference_prepares_them(models_dir: Path, size: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: PLC0415 - as above

    lens, image = read_lens(models_dir / CARD), scene(1, *size)
    expected = CLIPImageProcessorPil()(image, return_tensors="np")["pixel_values"]
    assert np.abs(lens.pixels([lens.square(image)]) - expected).max() < 1e-6


def test_the_middle_of_a_long_strip_differs_by_two_steps_of_255_at_most(models_dir: Path) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # noqa: PLC0415 - as above

    lens, image = read_lens(models_dir / CARD), scene(1, 8, 1000)
    expected = CLIPImageProcessorPil()(image, return_tensors="np")["pixel_values"]
    step = 1 / 255 / min(lens.std)
    assert np.abs(lens.pixels([lens.square(image)]) - expected).max() <= 2.01 * step
    assert lens.square(scene(1, 400_000, 8)).size == (224, 224)


def test_weights_of_half_precision_give_nearly_the_same(models_dir: Path, tmp_path: Path, clip: Clip) -> None:
    for file in (models_dir / CARD).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    halves = {name: tensor.astype(np.float16) for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(halves, tmp_path / "model.safetensors")
    half = open_clip(tmp_path, Machine(models_dir=tmp_path))
    square = clip.lens.square(scene(1))
    assert float((half.seen([square]) @ clip.seen([square]).T)[0, 0]) > 0.9999
    assert float((half.read(["a cat"]) @ clip.read(["a cat"]).T)[0, 0]) > 0.9999


# What it tells


def test_a_picture_without_a_question_gives_its_unit_vector(clip: Clip) -> None:
    (found,) = see(clip, encoded(scene(1)))["results"]
    assert set(found) == {"embedding"}
    assert len(found["embedding"]) == 512
    assert math.hypot(*found["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_labels_are_judged_against_each_other_best_first(clip: Clip) -> None:
    labels = ["cat", "red car", "invoice"]
    (found,) = see(clip, encoded(scene(1)), labels=labels)["results"]
    assert set(found) == {"label", "score", "scores"}
    assert sum(found["scores"].values()) == pytest.approx(1.0, abs=1e-5)
    assert list(found["scores"].values()) == sorted(found["scores"].values(), reverse=True)
    assert next(iter(found["scores"].items())) == (found["label"], found["score"])
    cosines = clip.read([f"a photo of a {label}" for label in labels]) @ clip.seen([clip.lens.square(scene(1))])[0]
    raised = np.exp(clip.scale * (cosines - cosines.max()))
    assert [found["scores"][label] for label in labels] == pytest.approx((raised / raised.sum()).tolist(), abs=1e-5)


def test_with_multi_label_each_label_is_judged_alone(clip: Clip) -> None:
    (both,) = see(clip, encoded(scene(1)), labels=["cat", "red car"], multi_label=True)["results"]
    (alone,) = see(clip, encoded(scene(1)), labels=["cat"], multi_label=True)["results"]
    assert both["scores"]["cat"] == pytest.approx(alone["scores"]["cat"], abs=1e-5)
    assert 0 < alone["score"] < 1


def test_a_text_that_says_nothing_matches_at_one_half(clip: Clip) -> None:
    (found,) = see(clip, encoded(scene(1)), query="a photo")["results"]
    assert found["match"]["score"] == pytest.approx(0.5, abs=1e-5)
    cosine = float(clip.read(["a photo"])[0] @ clip.seen([clip.lens.square(scene(1))])[0])
    assert found["match"]["cosine"] == pytest.approx(cosine, abs=1e-5)


def test_pictures_are_compared_with_each_other_nearest_first(clip: Clip) -> None:
    same, other = encoded(scene(1)), encoded(scene(2))
    first, second, third = see(clip, same, other, same, compare=True)["results"]
    assert [each["index"] for each in first["similar"]] == [2, 1]
    assert first["similar"][0]["cosine"] == pytest.approx(1.0, abs=1e-5)
    assert all(each["cosine"] <= 1.0 for each in first["similar"] + third["similar"])
    assert [each["index"] for each in third["similar"]] == [0, 1]
    assert {each["index"] for each in second["similar"]} == {0, 2}
    assert first["similar"][1]["cosine"] == pytest.approx(second["similar"][0]["cosine"], abs=1e-5)


def test_a_brand_profile_is_matched_text_by_text(clip: Clip) -> None:
    texts = ["a red car", "two people under a tree"]
    (found,) = see(clip, encoded(scene(1)), profile={"name": "Acme", "texts": texts})["results"]
    profile = found["profile"]
    assert (profile["name"], [each["text"] for each in profile["by_text"]]) == ("Acme", texts)
    assert profile["score"] == pytest.approx(sum(each["score"] for each in profile["by_text"]) / 2, abs=1e-5)
    (matched,) = see(clip, encoded(scene(1)), query=texts[0])["results"]
    assert profile["by_text"][0]["score"] == pytest.approx(matched["match"]["score"], abs=1e-5)


def test_everything_may_be_asked_at_once_and_the_vector_only_by_asking_nothing(clip: Clip) -> None:
    (found, _) = see(
        clip,
        encoded(scene(1)),
        encoded(scene(2)),
        query="a cat",
        labels=["cat"],
        compare=True,
        profile={"name": "Acme", "texts": ["a red car"]},
    )["results"]
    assert set(found) == {"label", "score", "scores", "match", "similar", "profile"}


def test_a_text_is_read_the_same_alone_and_beside_longer_ones_and_cut_where_the_model_ends(clip: Clip) -> None:
    clip.kept.clear()
    beside = clip.read(["a cat", "a dog under a tree by night " * 40])[0]
    clip.kept.clear()
    assert np.abs(clip.read(["a cat"])[0] - beside).max() < 1e-6
    assert len(clip.tokenizer.encode("a dog under a tree " * 40).ids) == 77
    assert clip.tokenizer.encode("a dog under a tree " * 40).tokens[-1] == END


def test_texts_are_remembered_up_to_a_bound(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_room, "KEPT_TEXTS", 3)
    clip.kept.clear()
    first = clip.read(["cat", "dog", "cat"])
    assert np.array_equal(first[0], first[2])
    clip.read(["tree", "car"])
    assert list(clip.kept) == ["dog", "tree", "car"]
    assert len(clip.read(["a", "b", "c", "d", "e"])) == 5


# Pictures of every kind, and items that fail alone


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("JPEG", encoded(scene(1), "JPEG", quality=95)),
        ("CMYK", encoded(scene(1).convert("CMYK"), "JPEG", quality=95)),
        ("palette", encoded(scene(1).quantize(256))),
        ("alpha", encoded(scene(1).convert("RGBA"))),
        ("WebP", encoded(scene(1), "WEBP", lossless=True)),
        ("animated", encoded(scene(1), "GIF", save_all=True, append_images=[scene(2)])),
    ],
)
def test_each_kind_of_file_shows_the_same_picture(clip: Clip, kind: str, image: bytes) -> None:
    kept, other = (float(vector(clip, each) @ vector(clip, IMAGE)) for each in (image, encoded(scene(2))))
    assert 1 - kept < (1 - other) / 5


def test_sixteen_bits_of_grey_are_seen_as_eight(clip: Clip) -> None:
    grey = np.asarray(scene(1).convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert float(vector(clip, encoded(deep)) @ vector(clip, encoded(Image.fromarray(grey)))) > 0.999


def test_an_exif_orientation_is_followed(clip: Clip) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    sideways = encoded(scene(1).rotate(90, expand=True), "JPEG", quality=95, exif=turned)
    assert float(vector(clip, sideways) @ vector(clip, encoded(scene(1), "JPEG", quality=95))) > 0.999


def test_a_picture_that_cannot_be_read_spoils_no_other_and_the_next_call_works(clip: Clip) -> None:
    whole = encoded(scene(1))
    items = tuple(Item(media=(picture(data),)) for data in (whole, whole[:400], encoded(scene(2))))
    first, cut, third = vision.infer(clip, Batch(task=Task.VISION, items=items))
    assert isinstance(cut, WorkerError)
    assert not isinstance(first, WorkerError)
    assert not isinstance(third, WorkerError)
    assert np.allclose(third["results"][0]["embedding"], vector(clip, encoded(scene(2))), atol=1e-5)


def test_many_pictures_go_through_in_groups_and_come_back_in_order(clip: Clip) -> None:
    images = [encoded(scene(seed)) for seed in range(20)]
    found = see(clip, *images)["results"]
    assert len(found) == 20
    assert np.allclose(found[17]["embedding"], vector(clip, images[17]), atol=1e-5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "media[0] (image/x, 0 bytes) is no image that can be read; send one of PNG, "),
        (b"RIFF\x24\0\0\0WAVEfmt ", "media[0] (image/x, 16 bytes) is no image that can be read"),
        (b"%PDF-1.7", "media[0] (image/x, 8 bytes) is no image that can be read"),
        (encoded(scene(1))[:500], "media[0] is a damaged image/x: "),
        (encoded(Image.new("RGB", (1, 1))), "media[0] has 1×1 pixels; each side needs at least 8"),
        (encoded(Image.new("1", (20_000, 8_000))), "media[0] "),
    ],
    ids=["empty", "sound", "pdf", "cut", "one pixel", "bomb"],
)
def test_what_is_no_picture_is_refused_with_a_reason(clip: Clip, data: bytes, message: str) -> None:
    assert refusal(clip, data).startswith(message)


@pytest.mark.parametrize(
    ("images", "query", "options", "message"),
    [
        ((), None, {}, "vision needs at least one image; `media` is empty"),
        ((IMAGE,), " ", {}, "query[0] is no text or an empty one"),
        ((IMAGE,), "x" * 4001, {}, "query[0] has 4001 characters, an image is matched with 4000"),
        ((IMAGE,), "half \ud83d", {}, "query[0] holds half a character (a lone surrogate); send valid Unicode"),
        ((IMAGE,), None, {"labels": "cat"}, "options.labels is a list of at most 1000 texts"),
        ((IMAGE,), None, {"labels": ["cat", 7]}, "options.labels[1] is no text or an empty one"),
        ((IMAGE,), None, {"labels": ["cat", "cat"]}, "options.labels names a label twice; name each once"),
        ((IMAGE,), None, {"compare": True}, "options.compare needs at least two images, got 1; "),
        ((IMAGE,), None, {"profile": {"texts": ["a"]}}, 'options.profile is {"name": …, "texts": '),
        ((IMAGE,), None, {"profile": {"name": "A", "texts": []}}, 'options.profile is {"name": …, "texts": '),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(
    clip: Clip, images: tuple[bytes, ...], query: str | None, options: dict[str, Any], message: str
) -> None:
    assert refusal(clip, *images, query=query, **options).startswith(message)


def test_an_item_nobody_waits_for_is_not_seen(clip: Clip) -> None:
    items = tuple(Item(media=(picture(IMAGE),)) for _ in range(2))
    gone, seen = vision.infer(clip, Batch(task=Task.VISION, items=items, stopped=lambda number: number == 0))
    assert isinstance(gone, WorkerError)
    assert gone.code is Code.TIMEOUT
    assert not isinstance(seen, WorkerError)


# Folders that hold something else


def test_a_config_names_only_what_differs_from_clips_own_sizes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "clip", "text_config": {"hidden_act": "gelu"}, "vision_config": {}})
    )
    image, text = read_shapes(tmp_path)
    assert (image.hidden, image.layers, image.heads, image.places, image.activation) == (768, 12, 12, 50, "quick_gelu")
    assert (text.hidden, text.layers, text.heads, text.places, text.activation) == (512, 12, 8, 77, "gelu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "siglip"}, "config.json says model_type = 'siglip'; only 'clip' is run here"),
        ({"model_type": "clip", "text_config": {"hidden_act": "relu"}}, "config.json says hidden_act = 'relu'; known "),
    ],
)
def test_another_architecture_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedTower) as error:
        read_shapes(tmp_path)
    assert str(error.value).startswith(message)


def test_weights_of_other_dimensions_than_the_cards_are_refused(models_dir: Path) -> None:
    card = load().get(CARD).model_copy(update={"dimensions": 768})
    with pytest.raises(WorkerError) as error:
        vision.load(card, Machine(models_dir=models_dir))
    assert error.value.code is Code.INVALID_CONFIG
    assert error.value.message == f"{CARD}: its card says 768 dimensions, its weights have 512"


def test_a_folder_without_a_tower_is_refused(models_dir: Path, tmp_path: Path) -> None:
    (folder := tmp_path / CARD).mkdir()
    for file in (models_dir / CARD).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if "text" not in name}, folder / "model.safetensors")
    with pytest.raises(WorkerError) as error:
        vision.load(load().get(CARD), Machine(models_dir=tmp_path))
    assert error.value.code is Code.INVALID_CONFIG
    assert "the weights have no tensor 'text_model.embeddings.token_embedding.weight'" in error.value.message


def test_the_room_opens_without_paying_for_a_library() -> None:
    heavy = {"torch", "transformers", "faster_whisper", "ctranslate2", "av", "onnx", "pypdfium2"}
    told = f"import sys, workers.vision; print({heavy!r} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", told]) == b"set()\n"
