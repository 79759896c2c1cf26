"""Checks what a caller sent before a model sees it: texts that can be read, options of the right type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from registry.schema import Task
from workers.modality import Code, Item, WorkerError

LONGEST_CHARACTERS = 200_000  # of one text: several times what the longest of these models reads
T = TypeVar("T")


def each_item(items: Sequence[Item], read: Callable[[Item], T]) -> list[T | WorkerError]:
    """What `read` makes of each item, or the WorkerError it raised: one caller's mistake is one caller's error."""
    return [_tried(item, read) for item in items]


def _tried(item: Item, read: Callable[[Item], T]) -> T | WorkerError:
    try:
        return read(item)
    except WorkerError as error:
        return error


def require_texts(item: Item, task: Task, longest: int = LONGEST_CHARACTERS) -> tuple[str, ...]:
    """The item's texts. Raises WorkerError `invalid_input` where there is none or one cannot be read."""
    if not item.texts:
        raise invalid(f"{task} needs at least one text; `texts` is empty")
    for number, text in enumerate(item.texts):
        require_readable(text, f"texts[{number}]", task, longest)
    return item.texts


def require_readable(text: object, name: str, task: Task, longest: int = LONGEST_CHARACTERS) -> str:
    """Raises WorkerError `invalid_input` for what is no text, too long, or no Unicode."""
    if not isinstance(text, str):
        raise invalid(f"{name} is of type {type(text).__name__}; {task} reads texts")
    if len(text) > longest:
        raise invalid(f"{name} has {len(text)} characters, {task} reads at most {longest}; split it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(f"{name} holds half of a character (a lone surrogate) at {error.start}; send UTF-8") from error
    return text


def whole_number(item: Item, name: str) -> int | None:
    """The option as a whole number from 1, None where it is not given. Raises WorkerError `invalid_input`."""
    value = item.options.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise invalid(f"options.{name} must be a whole number from 1, got {value!r}")
    return value


def flag(item: Item, name: str) -> bool:
    """The option as a claim, False where it is not given. Raises WorkerError `invalid_input`."""
    value = item.options.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(f"options.{name} must be true or false, got {value!r}")
    return bool(value)


def require_labels(item: Item) -> tuple[str, ...]:
    """`options.labels`: different names, none empty. Raises WorkerError `invalid_input`."""
    labels: Any = item.options.get("labels")
    if not isinstance(labels, (list, tuple)) or not labels:
        raise invalid("classify needs options.labels, a list of the classes to choose from")
    names = tuple(
        require_readable(label, f"options.labels[{number}]", Task.CLASSIFY) for number, label in enumerate(labels)
    )
    if any(not name.strip() for name in names) or len(set(names)) != len(names):
        raise invalid("options.labels has an empty name or one twice; every class needs a name of its own")
    return names


def invalid(message: str) -> WorkerError:
    """The caller's mistake, in a sentence."""
    return WorkerError(Code.INVALID_INPUT, message)
