"""Answers about documents, and documents as JSON, by Donut; it keeps no document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.schema import Card
from registry.weights import verify
from workers.images import refused
from workers.modality import Batch, Code, Item, Machine, Picture, Result, WorkerError
from workers.pages import pages

if TYPE_CHECKING:
    from PIL import Image

    from workers.donut import Donut, Written

MOST_PAGES = 20  # a page takes seconds on a processor
SHORTEST_SIDE = 32  # pixels: nothing smaller is a document
LONGEST_STRIP = 20  # times its width: scaled to the model's width, a longer one would take gigabytes
MOST_CHARACTERS = 2000
SHORTEST_ANSWER = 8  # tokens that must be left after a question


def load(card: Card, machine: Machine) -> Donut:
    """Raises WorkerError, DamagedWeights."""
    from workers.donut import open_donut  # noqa: PLC0415 - torch: 300 MB that only a worker for documents pays for

    found = machine.placed(card)
    if found is None:
        raise WorkerError(Code.MODEL_NOT_FOUND, f"the weights of {card.id} are not on this machine")
    safe = [*found.folder.glob("*.safetensors")]
    if not safe and not machine.allow_pickle:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id}: {found.folder} has no *.safetensors; pickled weights can run code: download a revision that "
            "has safetensors, or allow pickle where you trust the source",
        )
    verify(card, found.folder)
    donut = open_donut(found.folder, machine)
    if not donut.answers and donut.parse_mark is None:
        raise WorkerError(
            Code.INVALID_CONFIG,
            f"{card.id}: its tokenizer has no mark of a task known here (questions, receipts, kinds of documents)",
        )
    return donut


def infer(loaded: Donut, batch: Batch) -> list[Result | WorkerError]:
    """{"results": [one per document], "output_tokens": n}. A document is an image, a TIFF or a PDF.

    With a `query`, its answer: {"answer", "confidence", "text", "pages": [{"answer", "confidence", "cut"}]}; the
    document's answer is that of the page that is surest of one. Without, the document as JSON: {"data", "text",
    "pages": [{"data", "confidence", "cut"}]}; `data` is a page's object, of several pages a list. Only models that
    were trained to do so parse. confidence: the geometric mean of the tokens' probabilities, not calibrated. cut:
    the model ran out of positions. options.max_tokens bounds the tokens per page.
    """
    return [_item(loaded, item, batch.alone(number)) for number, item in enumerate(batch.items)]


def _item(donut: Donut, item: Item, batch: Batch) -> Result | WorkerError:
    if not item.media:
        return WorkerError(Code.INVALID_INPUT, "document needs at least one image or PDF; `media` is empty")
    try:
        prompt, most_tokens = _prompt(donut, item.query), _most_tokens(item)
        read = [
            _pages(donut, picture, f"media[{number}]", prompt, most_tokens, batch)
            for number, picture in enumerate(item.media)
        ]
    except WorkerError as error:
        return error
    tell = _told_data if item.query is None else _told_answer
    tokens = sum(written.tokens for document in read for written in document)
    return {"results": [tell(donut, document) for document in read], "output_tokens": tokens}


def _pages(
    donut: Donut, picture: Picture, name: str, prompt: list[int], most_tokens: int, batch: Batch
) -> list[Written]:
    written = []
    for page in pages(picture, name, shortest_side=SHORTEST_SIDE, most_pages=MOST_PAGES):
        _refuse_strip(page, name)
        batch.check_time()
        written.append(donut.write(page, prompt, batch.check_time, most_tokens))
    return written


def _refuse_strip(page: Image.Image, name: str) -> None:
    if max(page.size) > LONGEST_STRIP * min(page.size):
        raise refused(
            f"{name} has {page.width}×{page.height} pixels; no page is {LONGEST_STRIP} times as long as wide, cut it"
        )


def _prompt(donut: Donut, query: str | None) -> list[int]:
    """Raises WorkerError `invalid_input`: a question this model cannot take, or none where it needs one."""
    if query is None:
        if donut.parse_mark is None:
            raise refused("this model answers questions about a document; send one as `query`")
        return donut.prompt(donut.parse_mark)
    if not donut.answers:
        raise refused("this model turns a document into JSON and answers no questions; drop `query`")
    if not query.strip() or len(query) > MOST_CHARACTERS:
        raise refused(f"query is a question of 1 to {MOST_CHARACTERS} characters, got {len(query)}")
    if found := [mark for mark in sorted(donut.marks) if mark in query]:
        raise refused(f"query holds {found[0]!r}, a mark of the model's own; write it otherwise")
    from workers.donut import QUESTION  # noqa: PLC0415 - loaded already, with torch

    prompt = donut.prompt(QUESTION.format(query.strip()))
    if len(prompt) > donut.positions - SHORTEST_ANSWER:
        room = donut.positions - SHORTEST_ANSWER
        raise refused(f"query has {len(prompt)} tokens with its marks, this model takes {room}; ask in fewer words")
    return prompt


def _most_tokens(item: Item) -> int:
    asked = item.options.get("max_tokens")
    if asked is None:
        return MOST_CHARACTERS
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise refused(f"max_tokens is a whole number from 1, got {asked!r}")
    return asked


def _told_answer(donut: Donut, document: list[Written]) -> dict[str, Any]:
    told = [
        {"answer": written.plain, "confidence": round(written.confidence, 4), "cut": written.cut}
        for written in document
    ]
    surest = max(told, key=lambda page: (bool(page["answer"]), page["confidence"]))
    return {
        "answer": surest["answer"],
        "confidence": surest["confidence"],
        "text": surest["answer"],
        "pages": told,
    }


def _told_data(donut: Donut, document: list[Written]) -> dict[str, Any]:
    told = [
        {"data": donut.data(written), "confidence": round(written.confidence, 4), "cut": written.cut}
        for written in document
    ]
    return {
        "data": told[0]["data"] if len(told) == 1 else [page["data"] for page in told],
        "text": "\n".join(written.plain for written in document),
        "pages": told,
    }
