"""Tiny language models for the tests of the `llm` queue, made once per session, and the ways to ask them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.load import load as load_registry
from registry.schema import Card, Task
from tests.tiny.llm import MODELS
from workers import llm
from workers.generate.writer import Writer
from workers.modality import Batch, Item, Machine, Result, Turn, WorkerError

GGUF = "llama-3.2-3b-instruct"
TORCH = "llama-3.2-1b-instruct"


def tiny_card(card_id: str) -> Card:
    """The registry's card, but for the digests of the true weights."""
    card = load_registry().get(card_id)
    variants = tuple(variant.model_copy(update={"sha256": {}}) for variant in card.variants)
    return card.model_copy(update={"variants": variants})


def make(models_dir: Path, card_id: str) -> Path:
    folder = models_dir / card_id
    if not folder.exists():
        folder.mkdir(parents=True)
        MODELS[card_id](folder)
    return folder


@contextmanager
def loaded(models_dir: Path, card_id: str, **runtime: str | int | float | bool) -> Iterator[Writer]:
    """`runtime`: options of the card's variant."""
    make(models_dir, card_id)
    card = tiny_card(card_id)
    if runtime:
        card = card.model_copy(
            update={"variants": tuple(each.model_copy(update={"runtime": runtime}) for each in card.variants)}
        )
    writer = llm.load(card, Machine(models_dir=models_dir))
    try:
        yield writer
    finally:
        writer.close()


def user(text: str, **options: Any) -> Item:
    return Item(turns=(Turn(role="user", content=text),), options=options)


def talk(*turns: tuple[str, str], **options: Any) -> Item:
    return Item(turns=tuple(Turn(role=role, content=text) for role, text in turns), options=options)


def ask(writer: Writer, *items: Item, **more: Any) -> list[Result | WorkerError]:
    return llm.infer(writer, Batch(task=Task.GENERATE, items=items, **more))


def answer(writer: Writer, item: Item, **more: Any) -> Result:
    (found,) = ask(writer, item, **more)
    assert not isinstance(found, WorkerError), found
    return found


def error(writer: Writer, item: Item, **more: Any) -> WorkerError:
    (found,) = ask(writer, item, **more)
    assert isinstance(found, WorkerError), found
    return found
