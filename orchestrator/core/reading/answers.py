"""Reads signs of a right or wrong answer off a cheap answer and off others' final answers; judges nothing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from orchestrator.core.reading.lexical import options_of

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_FINAL = (
    re.compile(r"####\s*(.+?)\s*$", re.MULTILINE),
    re.compile(r"\"answer\"\s*:\s*\"?(.{1,400}?)\"?\s*(?:\}\s*(?:`|$)|$)", re.IGNORECASE | re.DOTALL),
    re.compile(r"answer is:?\s*\(?\**([A-Z])\b", re.IGNORECASE),
    re.compile(r"answer is:?\s*([^\n]{1,80}?)\.?\s*$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"\\boxed\{(.+?)\}"),
)
# `<<5*3=15>>` and `5 * 3 = 15`: two numbers or more, joined by signs, and what they are said to make.
_EQUATION = re.compile(r"([-+]?\d[\d.,]*(?:\s*[-+*/x×÷]\s*\(?\d[\d.,]*\)?)+)\s*=\s*\$?\s*(-?\d[\d,]*(?:\.\d+)?)")
_WINDOW_CHARACTERS = 64  # of a sum before its `=`: reading it must not cost more than linear time on any text
_SUM_BEFORE = re.compile(r"(?<![\w.,^)(}\\/*+×÷√%])\(?([-+]?\d[\d.,]*(?:\s*[-+*/x×÷]\s*\d[\d.,]*)+)\)?\s*$")
_RESULT_AFTER = re.compile(
    r"\s*\\?\$?\s*(-?\d[\d,]*(?:\.\d+)?)"
    r"(?![\d.,]*(?:[\w(]|\s*(?:[-+*/x×÷^(!%]|\\(?![)\]])|[mbtr]illion|thousand|hundred|dozen|remainder|mod\b)))"
)
# A sum after one of these is the end of a longer one: "a + 3 * 4", "20% of 50 + 3".
_GOES_ON = re.compile(r"(?:[-+*/×÷^(√%\\<>≈\d]|(?<![^\s])(?:x|of|times|by|plus|minus|over|mod|than))\s*$")
_ENDS_SUM = frozenset("0123456789)$")
_LATEX_SIGNS = (
    ("\\(", " "),
    ("\\[", " "),
    ("\\times", "*"),
    ("\\cdot", "*"),
    ("\\div", "/"),
    ("\\$", ""),
    ("$", ""),
    ("\\,", ""),
    ("<<", " "),
)
_TERM = re.compile(r"\d[\d,]*(?:\.\d+)?|[-+*/x×÷]")
_REFUSAL = re.compile(r"\b(?:i cannot|i can't|i'm unable|as an ai|i do not have|not possible to)\b", re.IGNORECASE)
_HEDGE = re.compile(
    r"\b(?:however|maybe|perhaps|might|could be|not (?:clear|sure)|none of|closest|approximately|assum\w+|seems?"
    r"|wait|mistake|incorrect|actually|guess)\b",
    re.IGNORECASE,
)
_WIKIPEDIA = re.compile(r"wikipedia|let's (?:solve|break|think)|we know that|first, ", re.IGNORECASE)

SIGNALS = (
    *("length", "words", "lines", "sentences", "numbers", "digits", "equations", "wrong_equations", "unread_equations"),
    *(
        "has_final",
        "final_length",
        "final_is_number",
        "final_whole",
        "final_size",
        "final_negative",
        "final_in_question",
    ),
    *("final_repeated", "question_numbers_used", "new_numbers", "letter", "letter_offered", "option_quoted"),
    *("letter_share", "letters_named", "refusal", "hedges", "stock_phrases", "truncated", "repetition", "overlap"),
    *("relative_length", "latex", "code", "final_decimals", "last_equation_is_final", "steps"),
    *("option_computed", "other_option_computed"),
)
AGREEMENTS = (
    *("with_weak", "largest", "distinct", "weak_in_largest", "missing", "others_agree", "others_agree_against"),
    "weak_missing",
)


def final_answer(answer: str) -> str:
    """The answer the text comes to: after `####`, in `"answer":`, after "the answer is", in a box; else ""."""
    for pattern in _FINAL:
        found = pattern.findall(answer)
        if found:
            return str(found[-1]).strip()
    return ""


def normalised(final: str) -> str:
    """A form in which equal answers are equal strings: option letters, numbers without units, bare text."""
    text = final.strip().strip("$.").replace("\\!", "").replace("\\left", "").replace("\\right", "")
    if letter := re.fullmatch(r"\(?([A-Za-z])\)?[.):]?", text):
        return letter[1].upper()
    if re.fullmatch(r"[^\w-]*-?\d[\d,]*(?:\.\d+)?\s*(?:[a-zA-Z%°$]+\.?)?", text) and (number := _NUMBER.search(text)):
        return f"{float(number[0].replace(',', '')):g}"
    return re.sub(r"[\s'\"`]+", "", text.replace("dfrac", "frac").replace("tfrac", "frac")).lower()


def signals(query: str, answer: str) -> list[float]:
    """One number per name in SIGNALS."""
    found = _form(answer) | _arithmetic(query, answer) | _final(query, answer) | _choice(query, answer)
    asked, said = set(query.lower().split()), answer.lower().split()
    found |= {
        "overlap": len(asked & set(said)) / max(1, len(asked)),
        "relative_length": math.log((len(answer) + 10) / (len(query) + 10)),
        "repetition": 1 - len(set(said)) / max(1, len(said)),
    }
    return [found[name] for name in SIGNALS]


def agreement(preds: Sequence[str]) -> list[float]:
    """One number per name in AGREEMENTS; `preds` are final answers, the weak model's first. "" agrees with none."""
    finals = [normalised(pred) for pred in preds]
    weak, others = finals[0], finals[1:]
    votes = Counter(final for final in finals if final)
    largest = max(votes.values(), default=0)
    against = Counter(other for other in others if other and other != weak)
    return [
        float(sum(bool(weak) and other == weak for other in others)),
        float(largest),
        float(len(votes)),
        float(bool(weak) and votes[weak] == largest),
        float(sum(not other for other in others)),
        float(max(Counter(other for other in others if other).values(), default=0)),
        float(max(against.values(), default=0)),
        float(not weak),
    ]


def pairs(preds: Sequence[str]) -> list[float]:
    """1 or 0 for each pair of models (in order) whose final answers agree."""
    finals = [normalised(pred) for pred in preds]
    return [
        float(bool(finals[one]) and finals[one] == finals[other])
        for one in range(len(finals))
        for other in range(one + 1, len(finals))
    ]


def _form(answer: str) -> dict[str, float]:
    end = answer.rstrip()
    return {
        "length": math.log1p(len(answer)),
        "words": math.log1p(len(answer.split())),
        "lines": math.log1p(answer.count("\n")),
        "sentences": math.log1p(answer.count(". ")),
        "steps": math.log1p(answer.count("\\n") + len(re.findall(r"^\s*\d+[.)]", answer, re.MULTILINE))),
        "digits": sum(map(answer.count, "0123456789")) / max(1, len(answer)),
        "refusal": float(bool(_REFUSAL.search(answer))),
        "hedges": math.log1p(len(_HEDGE.findall(answer))),
        "stock_phrases": float(len(_WIKIPEDIA.findall(answer))),
        "truncated": float(bool(end) and end[-1] not in '.!?)}`"0123456789'),
        "latex": math.log1p(answer.count("\\")),
        "code": math.log1p(answer.count("`") + answer.count("==")),
    }


def _arithmetic(query: str, answer: str) -> dict[str, float]:
    checked = [_holds(left, right) for left, right in _EQUATION.findall(answer)]
    used, asked = set(_NUMBER.findall(answer)), set(_NUMBER.findall(query))
    final = normalised(final_answer(answer))
    results = [normalised(right) for _, right in _EQUATION.findall(answer)]
    return {
        "numbers": math.log1p(len(_NUMBER.findall(answer))),
        "equations": math.log1p(len(checked)),
        "wrong_equations": math.log1p(sum(each is False for each in checked)),
        "unread_equations": math.log1p(sum(each is None for each in checked)),
        "question_numbers_used": len(used & asked) / len(asked) if asked else 1.0,
        "new_numbers": math.log1p(len(used - asked)),
        "last_equation_is_final": float(bool(results) and results[-1] == final),
    }


def numbers(text: str) -> list[float]:
    """Every number in the text, in order; thousands may be parted by commas."""
    return [_value(number) for number in _NUMBER.findall(text)]


def rechecked(text: str, most: int = 30) -> list[bool]:
    """Whether each sum in the text (`5 * 3 = 15`) makes what it says, to the last decimal it states; sums that cannot
    be read for sure are left out. The first `most` equals signs are looked at."""
    parts = text.split("=", most + 1)
    held = []
    for before, after in pairwise(parts):
        if before[-8:].rstrip()[-1:] not in _ENDS_SUM:
            continue
        right = _RESULT_AFTER.match(after[:_WINDOW_CHARACTERS])
        made = _made_before(before) if right else None
        if right and made is not None:
            held.append(states(right[1], made))
    return held


def _made_before(text: str) -> float | None:
    """What the sum that ends the text makes; None where it is part of something longer."""
    window = text[-_WINDOW_CHARACTERS:]
    if len(window) < len(text):
        window = window.partition(" ")[2]
    if "\\" in window or "$" in window or "<" in window:
        for latex, plain in _LATEX_SIGNS:
            window = window.replace(latex, plain)
    found = _SUM_BEFORE.search(window)
    if not found or _GOES_ON.search(window[: found.start()]):
        return None
    return total(found[1])


def states(stated: str, made: float) -> bool:
    """Whole numbers must be equal; others are rounded, cut off or carried on from rounded ones, so within 1%."""
    value = float(stated.replace(",", ""))
    if "." not in stated and abs(made - round(made)) < 1e-9:
        return abs(made - value) < 0.5
    return abs(made - value) <= max(0.01 * abs(made), 1.01 * 10.0 ** -len(stated.partition(".")[2]))


def total(written: str) -> float | None:
    """What a sum of plain numbers makes; None where it cannot be read. Products before sums, left to right."""
    terms = _TERM.findall(written)
    try:
        signed, product, sign = [], None, 1.0
        for at, term in enumerate(terms):
            if term in "+-*/x×÷":
                continue
            value, before = float(term.replace(",", "")), terms[at - 1] if at else "+"
            if product is not None and before in "*x×":
                product *= value
            elif product is not None and before in "/÷":
                product /= value
            else:
                signed.append(sign * (product or 0.0))
                product, sign = value, -1.0 if before == "-" else 1.0
        return sum(signed) + sign * (product or 0.0)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _holds(left: str, right: str) -> bool | None:
    """Whether the sum is right to 1%; None where it cannot be read. Products before sums, left to right."""
    made = total(left)
    if made is None:
        return None
    stated = float(right.replace(",", ""))
    return abs(made - stated) <= 0.01 * max(1.0, abs(stated))


def _final(query: str, answer: str) -> dict[str, float]:
    final = normalised(final_answer(answer))
    number = float(final) if re.fullmatch(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", final) else None
    asked = {normalised(each) for each in _NUMBER.findall(query)}
    return {
        "has_final": float(bool(final)),
        "final_length": math.log1p(len(final)),
        "final_is_number": float(number is not None),
        "final_whole": float(number is not None and number == int(number)),
        "final_decimals": float(len(final.partition(".")[2])),
        "final_size": math.log1p(abs(number)) if number is not None else 0.0,
        "final_negative": float(number is not None and number < 0),
        "final_in_question": float(final in asked),
        "final_repeated": math.log1p(answer.count(final)) if final else 0.0,
    }


def _choice(query: str, answer: str) -> dict[str, float]:
    options = options_of(query)
    final = normalised(final_answer(answer))
    letter = final if len(final) == 1 and final.isalpha() else ""
    chosen = options.get(letter, "")
    others = [len(each) for each in options.values()] or [0]
    return {
        "letter": float(ord(letter) - 64) if letter else 0.0,
        "letter_offered": float(letter in options),
        "option_quoted": float(bool(chosen) and chosen.lower() in answer.lower()),
        "letter_share": len(chosen) / max(1.0, sum(others) / len(others)),
        "letters_named": float(len(set(re.findall(r"\(([A-J])\)", answer)))),
        "option_computed": _computed(answer, [chosen]),
        "other_option_computed": _computed(answer, [text for each, text in options.items() if each != letter]),
    }


def _computed(answer: str, options: Sequence[str]) -> float:
    """1 where a number of these options is among the last three that the answer came to, within 1%."""
    offered = [_value(number) for option in options for number in _NUMBER.findall(option)]
    reached = [_value(number) for number in _NUMBER.findall(answer)[-3:]]
    return float(any(abs(one - other) <= 0.01 * abs(one) for one in offered for other in reached))


def _value(number: str) -> float:
    return float(number.replace(",", ""))
