"""Toxicity of English texts by our own word list; its quality is unmeasured, its answer a hint.

It finds words, not meaning: it misses polite hatred and flags quotations. Letters written as digits or
signs (`1d10t`, `@sshole`) are read as letters; spaced-out letters are not.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from registry.schema import Task
from workers.encoder.inputs import each_item, require_texts
from workers.modality import Batch, Item, Result, WorkerError

WORDS_FILE = Path(__file__).with_name("toxicity_words.toml")
TOXIC_FROM = 0.5
LOOK_ALIKES = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
TOKEN = re.compile(r"[a-z0-9@$!]*[a-z][a-z0-9@$!]*[a-z0-9]")  # with a letter; a closing "!" is punctuation


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """One category: what it looks for, and how much one finding weighs (0 to 1)."""

    pattern: re.Pattern[str]
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WordList:
    """The categories by their name."""

    categories: Mapping[str, Category]

    def infer(self, batch: Batch) -> list[Result | WorkerError]:
        """{"results": [{"toxic", "score", "categories"}, …]}, one per text.

        categories: name → 1 − (1 − weight)^findings; score: the same over all categories together; toxic:
        score ≥ 0.5. No number here is a probability.
        """
        return each_item(batch.items, lambda item: self._item(item, batch))

    def _item(self, item: Item, batch: Batch) -> Result:
        found = []
        for text in require_texts(item, Task.TOXICITY):
            batch.check_time()
            found.append(_read(self.categories, text))
        return {"results": found}


def open_list() -> WordList:
    """The shipped list, compiled. It needs nothing that could be missing."""
    content = tomllib.loads(WORDS_FILE.read_text(encoding="utf-8"))
    categories = {
        name: Category(pattern=_pattern(each["words"]), weight=each["weight"]) for name, each in content.items()
    }
    return WordList(categories=categories)


def _read(words: Mapping[str, Category], text: str) -> dict[str, Any]:
    plain = _plain(text)
    disguised = TOKEN.sub(lambda token: token.group().translate(LOOK_ALIKES), plain)
    clean = {
        name: (1 - category.weight) ** max(len(category.pattern.findall(each)) for each in (plain, disguised))
        for name, category in words.items()
    }
    score = round(1 - prod(clean.values()), 4)
    return {
        "toxic": score >= TOXIC_FROM,
        "score": score,
        "categories": {name: round(1 - share, 4) for name, share in clean.items()},
    }


def _plain(text: str) -> str:
    """Lower case, without accents, every gap one space."""
    split = unicodedata.normalize("NFKD", text).casefold()
    bare = "".join(sign for sign in split if not unicodedata.combining(sign))
    return " ".join(bare.split())


def _pattern(words: list[str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, longest_first))})(?![a-z])")
