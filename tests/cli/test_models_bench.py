"""`pennyroute models bench`: its set of files, its figures on known answers, and a run on real weights."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.cli.bench_figures import figures, wilson
from orchestrator.cli.models_bench import LABELS, read_files
from tests.cli.conftest import Cli


def test_the_set_has_a_hundred_files_of_every_label_with_origin_and_licence() -> None:
    files = read_files()
    counts = Counter(file["label"] for file in files)
    assert len(files) == len({file["path"] for file in files}) == 100
    assert set(counts) == set(LABELS)
    assert min(counts.values()) >= 10
    assert {file["licence"] for file in files} == {"Apache-2.0", "PSF-2.0"}
    assert all(file["origin"] and file["text"].strip() for file in files)


def test_figures_of_known_answers() -> None:
    found = figures(["a", "a", "b", "b", "b"], ["a", "b", "b", None, "b"], ("a", "b", "c"))
    assert (found.right, found.accuracy) == (3, 0.6)
    a, b, c = found.classes
    assert (a.precision, a.recall, a.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert (b.precision, b.recall, b.f1) == (pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (c.precision, c.recall, c.f1) == (None, None, 0.0)
    assert found.confusion == {"a": {"a": 1, "b": 1}, "b": {"b": 2, "failed": 1}, "c": {}}


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(80, 100)
    assert (round(low, 3), round(high, 3)) == (0.711, 0.867)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0


def test_a_built_in_model_is_far_better_than_guessing(house_cli: Cli, tmp_path: Path) -> None:
    told = house_cli("models", "bench", "-m", "minilm-l6-builtin", "--json", "--png", str(tmp_path / "bench.png"))
    assert told.exit_code == 0, told.stderr
    (bench,) = json.loads(told.stdout)
    assert (bench["how"], bench["failed"], bench["nanousd_per_1000"]) == ("similarity", 0, 0)
    assert bench["figures"]["accuracy"] > 0.4
    assert bench["resident_bytes"] > 0
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
