"""How turns become one prompt that fits a model's context; pure but for the template and tokenizer it is handed.

The model's own chat template writes the prompt. Where it refuses a system turn (Gemma) the system's words go before
the first user turn; where it refuses two turns of one role in a row they are joined. What does not fit loses its
oldest turns, never a system turn and never the last one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from workers.modality import Code, Turn, WorkerError

Turns = Sequence[Turn]
PLAIN_STOP = "\nInstruct:"
LONGEST_TOKEN = 256  # characters; the longest in use are runs of 128 spaces (Llama 3, Qwen)


class TemplateRefused(Exception):
    """A chat template does not write these turns; the text says why, in the template's words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What the model reads, and how many of the oldest turns are not in it."""

    tokens: Sequence[int]
    dropped_turns: int


def plain(turns: Turns) -> str:
    """The prompt of a model without a chat template, in the form that Phi-2's page gives for it: system turns as they
    are, `Instruct:` before the user's, `Output:` before the model's. To be stopped at PLAIN_STOP."""
    names = {"user": "Instruct: ", "assistant": "Output: ", "system": ""}
    said = "\n".join(f"{names[turn.role]}{turn.content.strip()}" for turn in turns)
    return f"{said}\nOutput:"


def bare(turns: Turns) -> str:
    """The prompt of a model that was trained on instructions alone (LaMini-Flan-T5): one user turn as it is."""
    if len(turns) == 1:
        return turns[0].content
    return "\n".join(turn.content if turn.role == "system" else f"{turn.role}: {turn.content}" for turn in turns)


def rendered(turns: Turns, template: Callable[[Turns], str]) -> str:
    """The template's text for these turns, rearranged where it refuses them. Raises WorkerError `invalid_input` where
    it refuses each arrangement."""
    refusal = ""
    for arrange in (list, folded, lambda turns: joined(folded(turns))):
        try:
            return template(arrange(turns))
        except TemplateRefused as error:
            refusal = refusal or str(error)
    raise WorkerError(
        Code.INVALID_INPUT,
        f"the model's chat template refuses this conversation: {refusal:.200}; begin with a user's turn and alternate",
    )


def defused(turns: Turns, controls: frozenset[str]) -> list[Turn]:
    """The same turns, in which no text is one of the model's control tokens: nobody closes a turn, or speaks as the
    system, by writing `<|im_end|>`. An invisible word joiner goes behind its first character."""
    if not controls:
        return list(turns)
    return [
        replace(turn, content=_any_of(controls).sub(lambda found: f"{found[0][0]}\u2060{found[0][1:]}", turn.content))
        for turn in turns
    ]


@lru_cache(maxsize=8)
def _any_of(controls: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(control) for control in sorted(controls, key=len, reverse=True)))


def folded(turns: Turns) -> list[Turn]:
    """System turns as the first words of the first user turn, a line of their own, as llama.cpp writes them."""
    system = "\n\n".join(turn.content for turn in turns if turn.role == "system")
    others = [turn for turn in turns if turn.role != "system"]
    first = next((number for number, turn in enumerate(others) if turn.role == "user"), None)
    if not system:
        return others
    if first is None:
        return [Turn(role="user", content=system), *others]
    whole = Turn(role="user", content=f"{system}\n{others[first].content}")
    return [*others[:first], whole, *others[first + 1 :]]


def joined(turns: Turns) -> list[Turn]:
    """Neighbours of one role as one turn, and a user's turn first."""
    found = [
        Turn(role=role, content="\n\n".join(turn.content for turn in same))
        for role, same in groupby(turns, lambda turn: turn.role)
    ]
    return found if found and found[0].role == "user" else [Turn(role="user", content=""), *found]


def fitted(turns: Turns, read: Callable[[Turns], Sequence[int]], most_tokens: int) -> Prompt:
    """The longest end of the conversation of at most `most_tokens`; `read` gives the tokens of turns as a prompt.

    Raises WorkerError `invalid_input` with both numbers where the system turns and the last turn alone are longer.
    """
    if _least_tokens(turns) <= most_tokens and len(tokens := read(turns)) <= most_tokens:
        return Prompt(tokens=tokens, dropped_turns=0)
    starts = _starts(turns)
    low, high = 0, len(starts)  # the first start from which it fits lies in starts[low:high], or nowhere
    found: Prompt | None = None
    while low < high:
        middle = (low + high) // 2
        kept = _kept(turns, starts[middle])
        if _least_tokens(kept) <= most_tokens and len(tokens := read(kept)) <= most_tokens:
            found = Prompt(tokens=tokens, dropped_turns=len(turns) - len(kept))
            high = middle
        else:
            low = middle + 1
    if found is None:
        raise _too_long(_kept(turns, starts[-1] if starts else 0), read, most_tokens)
    return found


def _least_tokens(turns: Turns) -> int:
    """What these turns surely take: ten megabytes are refused without a tokenizer working on them for a minute."""
    return sum(len(turn.content) for turn in turns) // LONGEST_TOKEN


def _starts(turns: Turns) -> list[int]:
    """Where the kept end may begin: at a later user's turn, at the last turn at the latest."""
    speaking = [number for number, turn in enumerate(turns) if turn.role != "system"]
    return [number for number in speaking[1:] if turns[number].role == "user" or number == speaking[-1]]


def _kept(turns: Turns, start: int) -> list[Turn]:
    return [turn for number, turn in enumerate(turns) if number >= start or turn.role == "system"]


def _too_long(turns: Turns, read: Callable[[Turns], Sequence[int]], most_tokens: int) -> WorkerError:
    what = "the last turn with the system's" if any(turn.role == "system" for turn in turns) else "the last turn"
    least = _least_tokens(turns)
    has = f"at least {least}" if least > most_tokens else f"{len(read(turns))}"
    return WorkerError(
        Code.INVALID_INPUT,
        f"{what} has {has} tokens, the model reads at most {most_tokens} beside its answer; shorten it, or ask for "
        "fewer max_tokens or a model with a longer context",
    )
