"""Says whether code that a reply shows can be parsed: Python by its parser, other languages by brackets; runs none.

JSON is not judged here: of 879 labelled answers whose fenced JSON does not parse 49% were adequate, as of all others.
Where the ask demands JSON, `checks.shaped` does.
"""

from __future__ import annotations

import ast
import re
import warnings
from textwrap import dedent

BROKEN_CODE = 0.4
_PARSED_CHARACTERS = 8_000  # a few milliseconds of parsing; longer blocks are not judged
_MOST_DEPTH = 40
_OPEN = {"(": ")", "[": "]", "{": "}"}
_BRACKETS = re.compile(r"[()\[\]{}]")
# Strings and comments, open ones to the end of what they could hold, so that one pass reads any text; then brackets.
_PIECE = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\.)*`?|//[^\n]*|/\*(?:[^*]|\*(?!/))*(?:\*/)?|[()\[\]{}]"
)
_BRACED = frozenset("javascript js typescript ts java c cpp c++ csharp cs go kotlin swift scala".split())


def code_kept(text: str) -> float:
    """1 where the longest fenced block parses or nobody can tell."""
    blocks = _blocks(text)
    if not blocks:
        return 1.0
    language, code = max(blocks, key=lambda block: len(block[1]))
    if len(code) > _PARSED_CHARACTERS or not code.strip():
        return 1.0
    if language in ("python", "py", "python3"):
        return 1.0 if _is_python(code) else BROKEN_CODE
    if language in _BRACED:
        return 1.0 if balanced(code) else BROKEN_CODE
    return 1.0


def _blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks that are closed."""
    parts = text.split("```")
    found = []
    for inside in parts[1 : len(parts) - 1 : 2]:
        language, _, code = inside.partition("\n")
        found.append((language.strip().lower(), code))
    return found


def _is_python(code: str) -> bool:
    """What only a newer or a sturdier parser could read counts as sound."""
    lines = code.split("\n")
    if any(line.lstrip().startswith((">>>", "!", "%", "$ ")) for line in lines) or _deep(code):
        return True  # a session or a notebook is no module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(dedent(code))
        except SyntaxError as error:
            return "f-string" in str(error.msg)
        except (ValueError, RecursionError, MemoryError, OverflowError):
            return True
    return True


def _deep(code: str) -> bool:
    depth = most = 0
    for bracket in _BRACKETS.findall(code):
        depth += 1 if bracket in _OPEN else -1
        most = max(most, depth)
    return most > _MOST_DEPTH


def balanced(code: str) -> bool:
    """Every bracket outside strings and comments is closed by its own kind, in order."""
    waiting: list[str] = []
    for piece in _PIECE.findall(code):
        if piece in _OPEN:
            waiting.append(_OPEN[piece])
        elif piece in ")]}" and (not waiting or waiting.pop() != piece):
            return False
    return not waiting
