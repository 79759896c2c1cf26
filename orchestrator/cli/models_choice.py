"""Asks on a terminal which models to download; without a terminal it says what to type instead."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer
from rich.text import Text

from orchestrator.cli.models_local import Local, local_facts, size
from orchestrator.cli.screen import screen, table, yes_no
from registry.schema import Card


def choose(cards: Sequence[Card], models_dir: Path, memory: Mapping[str, int]) -> list[Card]:
    """The chosen ones, in the order they were typed. Exits with 2 where nobody can be asked, 1 where nobody chose."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("name the models to download; `pennyroute models list --tier local` shows them")
    facts = [local_facts(card, models_dir, memory) for card in cards]
    rows = [_row(number, card, fact) for number, (card, fact) in enumerate(zip(cards, facts, strict=True), start=1)]
    columns = ("", "model", "tasks", "licence", "variant", "size", "memory", "fits", "here")
    screen().print(table(columns, rows, right=("", "size", "memory")))
    while True:
        typed = typer.prompt("Which (numbers, separated by commas; empty: none)", default="", show_default=False)
        if not typed.strip():
            raise typer.Exit(1)
        found = _read(typed, cards)
        if found is not None:
            return found
        screen().print(Text(f"Numbers from 1 to {len(cards)}, please; got {typed!r}", style="yellow"))


def _read(typed: str, cards: Sequence[Card]) -> list[Card] | None:
    words = typed.replace(",", " ").split()
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= len(cards) for word in words):
        return None
    return [cards[int(word) - 1] for word in dict.fromkeys(words)]


def _row(number: int, card: Card, facts: Local | None) -> tuple[object, ...]:
    start = (number, card.id, ", ".join(card.tasks), card.licence)
    if facts is None:
        return (*start, None, None, None, None, None)
    fits = Text("?", style="dim") if facts.fits is None else yes_no(facts.fits, needed=False)
    return (
        *start,
        facts.variant,
        size(facts.size_bytes),
        size(facts.memory_bytes),
        fits,
        yes_no(bool(facts.here), needed=False),
    )
