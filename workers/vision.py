"""What a picture shows and how well pictures and texts match, by CLIP on ONNX Runtime; it keeps no picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import Image

from registry.schema import Card
from registry.weights import verify
from workers.images import opened, refused
from workers.modality import Batch, Code, Item, Machine, Result, WorkerError
from workers.seeing.clip import Clip, Vectors, open_clip
from workers.seeing.shapes import UnsupportedTower

PROMPT = "a photo of a {}"  # what CLIP's authors judge labels by
NEUTRAL = "a photo"  # says nothing of what is in it: a text that matches no better does not match
IMAGES_PER_FORWARD = 16
SHORTEST_SIDE = 8  # pixels: nothing smaller shows anything
MOST_TEXTS = 1000
MOST_CHARACTERS = 4000  # the model reads 77 tokens; a book is a mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """What an item asks of each of its pictures, checked. Nothing asked: the vector."""

    labels: tuple[str, ...] = ()
    multi_label: bool = False
    query: str | None = None
    compare: bool = False
    brand: str | None = None
    brand_texts: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        return not (self.labels or self.query is not None or self.compare or self.brand_texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    wish: _Wish
    squares: Sequence[Image.Image]


def load(card: Card, machine: Machine) -> Clip:
    """CLIP's towers on the card's own weights, run once. Raises WorkerError, DamagedWeights."""
    found = machine.placed(card)
    if found is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    verify(card, found.folder)
    try:
        clip = open_clip(found.folder, machine)
    except (UnsupportedTower, ValueError) as error:
        raise WorkerError(Code.INVALID_CONFIG, f"{card.id}: {error}") from error
    if card.dimensions != clip.dimensions:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id}: its card says {card.dimensions} dimensions, its weights have {clip.dimensions}",
        )
    clip.seen([Image.new("RGB", (clip.lens.side, clip.lens.side))])
    clip.read([NEUTRAL])
    return clip


def infer(loaded: Clip, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [one per picture]}, with what was asked for, or {"embedding": [unit vector]} where nothing was.

    options.labels: {"label", "score", "scores" {label: score}}, best first; the scores add up to 1, or with
    options.multi_label each label is judged alone. `query`: {"match": {"cosine", "score"}} of picture and text.
    options.compare: {"similar": [{"index", "cosine"}]}, the item's other pictures, nearest first.
    options.profile {"name", "texts"}: {"profile": {"name", "score", "by_text": [{"text", "cosine", "score"}]}},
    whose score is the mean of its texts'.

    A score by itself is the sigmoid of scale × (cosine − cosine with "a photo"), with the model's own scale: 0.5 is
    "no nearer than any photo". It orders well; it is not calibrated. Of an animation the first frame is seen.
    """
    asked = [_asked(loaded, item, batch.alone(number)) for number, item in enumerate(batch.items)]
    vectors = _seen(loaded, [square for each in asked if isinstance(each, _Asked) for square in each.squares], batch)
    results: list[Result | WorkerError] = []
    for each in asked:
        if isinstance(each, WorkerError):
            results.append(each)
            continue
        own, vectors = vectors[: len(each.squares)], vectors[len(each.squares) :]
        results.append({"results": _told(loaded, own, each.wish)})
    return results


def _asked(clip: Clip, item: Item, batch: Batch) -> _Asked | WorkerError:
    if not item.media:
        return WorkerError(Code.INVALID_INPUT, "vision needs at least one image; `media` is empty")
    squares = []
    try:
        wish = _wish(item)
        for number, picture in enumerate(item.media):
            batch.check_time()
            image = opened(picture, f"media[{number}]", shortest_side=SHORTEST_SIDE)
            squares.append(clip.lens.square(image))
    except WorkerError as error:
        return error
    return _Asked(wish=wish, squares=squares)


def _seen(clip: Clip, squares: Sequence[Image.Image], batch: Batch) -> Vectors:
    found = [np.empty((0, clip.dimensions), dtype=np.float32)]
    for start in range(0, len(squares), IMAGES_PER_FORWARD):
        batch.check_time()
        found.append(clip.seen(squares[start : start + IMAGES_PER_FORWARD]))
    return np.concatenate(found)


def _told(clip: Clip, vectors: Vectors, wish: _Wish) -> list[dict[str, Any]]:
    if wish.nothing:
        return [{"embedding": vector.tolist()} for vector in vectors]
    told: list[dict[str, Any]] = [{} for _ in vectors]
    for asked, tell in ((wish.labels, _labelled), (wish.query, _matched), (wish.brand_texts, _profiled)):
        if asked:
            for each, found in zip(told, tell(clip, vectors, wish), strict=True):
                each.update(found)
    if wish.compare:
        for number, each in enumerate(told):
            each["similar"] = _similar(vectors, number)
    return told


def _labelled(clip: Clip, vectors: Vectors, wish: _Wish) -> Iterator[dict[str, Any]]:
    cosines, neutral = _cosines(clip, vectors, [PROMPT.format(label) for label in wish.labels])
    scores = _sigmoid(clip.scale * (cosines - neutral)) if wish.multi_label else _softmax(clip.scale * cosines)
    for row in scores:
        best = sorted(zip(wish.labels, row.tolist(), strict=True), key=lambda pair: -pair[1])
        yield {"label": best[0][0], "score": best[0][1], "scores": dict(best)}


def _matched(clip: Clip, vectors: Vectors, wish: _Wish) -> Iterator[dict[str, Any]]:
    cosines, neutral = _cosines(clip, vectors, [wish.query or ""])
    scores = _sigmoid(clip.scale * (cosines - neutral))
    for cosine, score in zip(cosines[:, 0].tolist(), scores[:, 0].tolist(), strict=True):
        yield {"match": {"cosine": cosine, "score": score}}


def _profiled(clip: Clip, vectors: Vectors, wish: _Wish) -> Iterator[dict[str, Any]]:
    cosines, neutral = _cosines(clip, vectors, wish.brand_texts)
    scores = _sigmoid(clip.scale * (cosines - neutral))
    for row, judged in zip(cosines.tolist(), scores.tolist(), strict=True):
        by_text = [
            {"text": text, "cosine": cosine, "score": score}
            for text, cosine, score in zip(wish.brand_texts, row, judged, strict=True)
        ]
        yield {"profile": {"name": wish.brand, "score": sum(judged) / len(judged), "by_text": by_text}}


def _similar(vectors: Vectors, number: int) -> list[dict[str, Any]]:
    cosines = np.clip(vectors @ vectors[number], -1.0, 1.0).tolist()  # rounding takes twins a little past 1
    others = [{"index": index, "cosine": cosine} for index, cosine in enumerate(cosines) if index != number]
    return sorted(others, key=lambda other: -other["cosine"])


def _cosines(clip: Clip, vectors: Vectors, texts: Sequence[str]) -> tuple[Vectors, Vectors]:
    """(pictures, texts), and (pictures, 1) with the text that says nothing."""
    read = clip.read([*texts, NEUTRAL])
    cosines = vectors @ read.T
    return cosines[:, :-1], cosines[:, -1:]


def _sigmoid(values: Vectors) -> Vectors:
    return cast(Vectors, 1 / (1 + np.exp(-values)))


def _softmax(values: Vectors) -> Vectors:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return cast(Vectors, raised / raised.sum(axis=1, keepdims=True))


def _wish(item: Item) -> _Wish:
    """Raises WorkerError `invalid_input` over an option that cannot be followed."""
    options = item.options
    labels = _texts(options.get("labels") or (), "options.labels")
    if len(set(labels)) != len(labels):
        raise refused("options.labels names a label twice; name each once")
    compare = bool(options.get("compare"))
    if compare and len(item.media) < 2:
        raise refused(f"options.compare needs at least two images, got {len(item.media)}; send what to compare with")
    name, brand_texts = _profile(options.get("profile"))
    return _Wish(
        labels=labels,
        multi_label=bool(options.get("multi_label")),
        query=None if item.query is None else _texts([item.query], "query")[0],
        compare=compare,
        brand=name,
        brand_texts=brand_texts,
    )


def _profile(given: Any) -> tuple[str | None, tuple[str, ...]]:
    if given is None:
        return None, ()
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or not given.get("texts"):
        raise refused('options.profile is {"name": …, "texts": [what the brand looks like, …]}, with at least one text')
    return given["name"], _texts(given["texts"], "options.profile.texts")


def _texts(given: Any, name: str) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or len(given) > MOST_TEXTS:
        raise refused(f"{name} is a list of at most {MOST_TEXTS} texts")
    for number, text in enumerate(given):
        if not isinstance(text, str) or not text.strip():
            raise refused(f"{name}[{number}] is no text or an empty one")
        if len(text) > MOST_CHARACTERS:
            raise refused(f"{name}[{number}] has {len(text)} characters, an image is matched with {MOST_CHARACTERS}")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise refused(f"{name}[{number}] holds half a character (a lone surrogate); send valid Unicode")
    return tuple(given)
