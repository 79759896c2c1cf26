"""How well a classifier did: accuracy, and per class precision, recall and F1; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFigures:
    """Of one label. None where nothing was said to be it (precision) or nothing is it (recall)."""

    label: str
    files: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """`interval` is Wilson's 95% interval of the accuracy; `macro_f1` the mean over the labels."""

    files: int
    right: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    classes: tuple[ClassFigures, ...]
    confusion: Mapping[str, Mapping[str, int]]


def figures(truth: Sequence[str], said: Sequence[str | None], labels: Sequence[str]) -> Figures:
    """`said` None: the file failed, which is wrong and counts for no label."""
    right = sum(one == other for one, other in zip(truth, said, strict=True))
    classes = tuple(_of(label, truth, said) for label in labels)
    confusion: dict[str, dict[str, int]] = {label: {} for label in labels}
    for one, other in zip(truth, said, strict=True):
        confusion[one][other or "failed"] = confusion[one].get(other or "failed", 0) + 1
    return Figures(
        files=len(truth),
        right=right,
        accuracy=right / len(truth),
        interval=wilson(right, len(truth)),
        macro_f1=sum(each.f1 for each in classes) / len(classes),
        classes=classes,
        confusion=confusion,
    )


def _of(label: str, truth: Sequence[str], said: Sequence[str | None]) -> ClassFigures:
    there, told = sum(each == label for each in truth), sum(each == label for each in said)
    hits = sum(one == other == label for one, other in zip(truth, said, strict=True))
    return ClassFigures(
        label=label,
        files=there,
        precision=hits / told if told else None,
        recall=hits / there if there else None,
        f1=2 * hits / (there + told) if there + told else 0.0,
    )


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927)."""
    p, n = right / total, total
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
