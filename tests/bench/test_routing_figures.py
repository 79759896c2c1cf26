"""What the routing bench says of scores: figures, intervals, maps, the table in README; and which rows certify."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra `train` is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "benches"))

import routing_calibration
import routing_intervals
import routing_scores
import routing_tables
from routing_sets import Table

from orchestrator.core.replay import evaluate


def table(count: int, seed: int = 0) -> tuple[Table, Any]:
    """Two models, the strong one right more often, and a score that knows a little."""
    dice = np.random.default_rng(seed)
    weak, strong = (dice.random(count) < 0.5).astype(float), (dice.random(count) < 0.8).astype(float)
    made = Table(
        name="mmlu",
        ids=tuple(f"q{i}" for i in range(count)),
        queries=tuple(f"question {i}" for i in range(count)),
        in_tok=np.full(count, 30.0),
        split_keys=tuple(f"k{i // 3}" for i in range(count)),
        weak=weak,
        strong=strong,
        official=(weak, strong),
        usd=(np.zeros(count), dice.random(count) + 0.1),
    )
    return made, strong - weak + dice.normal(size=count)


@pytest.mark.parametrize("decimals", [9, 0])  # scores that differ, and long runs of equal ones
def test_figures_are_those_of_the_core(decimals: int) -> None:
    made, score = table(500)
    score = np.round(score, decimals)
    assert made.weak is not None
    assert made.strong is not None
    assert made.usd is not None
    draws = np.random.default_rng(1).integers(0, 500, (50, 500))
    found = routing_intervals.figures(made, score, draws)
    saved = evaluate.saving(made.weak, made.strong, score, 0.95, *made.usd)
    assert found["apgr"]["value"] == pytest.approx(evaluate.apgr(made.weak, made.strong, score), abs=1e-9)
    assert found["auroc"]["value"] == pytest.approx(evaluate.auroc(made.gain > 0, score), abs=1e-9)
    assert found["cpt80"]["value"] == pytest.approx(evaluate.cpt(made.weak, made.strong, score, 0.8), abs=1 / 500)
    assert found["calls95"]["value"] == pytest.approx(saved.calls_saved, abs=1 / 500)
    assert found["dollars95"]["value"] == pytest.approx(saved.dollars_saved, abs=0.01)
    exact = evaluate.apgr_interval(made.weak, made.strong, score, draws)
    assert (found["apgr"]["low"], found["apgr"]["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_halves_share_no_split_key() -> None:
    made, _ = table(300)
    fitting, certifying = routing_scores.halved(made)
    assert {made.split_keys[row] for row in fitting}.isdisjoint(made.split_keys[row] for row in certifying)
    assert sorted([*fitting, *certifying]) == list(range(300))
    assert (len(fitting), len(certifying)) == (150, 150)


def test_promises_certified_on_one_half_hold_on_fresh_queries() -> None:
    """The score is fixed and the weak model is right less often where it is high: 200 draws of 400 labels, judged by
    the true margin. δ is 0.1; 34 or more of 200 broken would happen once in a thousand if it were kept."""
    right = np.linspace(0.95, 0.3, 1000)  # P(weak right) by score; the strong one is right with 0.9
    broken = 0
    for seed in range(200):
        dice = np.random.default_rng(seed)
        score = dice.random(400)
        weak = (dice.random(400) < np.interp(score, np.linspace(0, 1, 1000), right)).astype(float)
        made, _ = table(400, seed)
        rows = Table(
            name="mmlu",
            ids=made.ids,
            queries=made.queries,
            in_tok=made.in_tok,
            split_keys=made.ids,
            weak=weak,
            strong=(dice.random(400) < 0.9).astype(float),
        )
        held = routing_scores.certificates(rows, score, np.arange(1, 100) / 100)["0.05,0.1"]
        sent = np.linspace(0, 1, 1000) < held.threshold
        broken += bool(sent.any() and np.where(sent, right, 0.9).mean() < 0.95 * 0.9)
    assert broken < 34


def test_a_map_takes_a_constant_error_away_and_never_sees_the_row_it_maps() -> None:
    dice = np.random.default_rng(3)
    chance = dice.random(3000)
    outcome = (dice.random(3000) < chance).astype(float)
    keys = [str(i) for i in range(3000)]
    wrong = np.clip(chance * 0.5, 0, 1)
    mapped = routing_calibration.nested(routing_calibration.isotonic, wrong, outcome, keys)
    assert evaluate.calibration_error(wrong, outcome) > 0.2
    assert evaluate.calibration_error(mapped, outcome) < 0.03
    flipped = outcome.copy()
    flipped[0] = 1 - flipped[0]
    again = routing_calibration.nested(routing_calibration.isotonic, wrong, flipped, keys)
    assert again[0] == mapped[0]


def test_a_digit_that_differs_in_readme_is_told(tmp_path: Path) -> None:
    figure = {"value": 0.6914, "low": 0.6661, "high": 0.7151}
    figures = dict.fromkeys(routing_intervals.FIGURES, figure)
    baselines = dict.fromkeys((*routing_tables.PLAIN, "oracle"), figures)
    regimes = {regime: {"score": figures} for regime in ("id", "id-1500", "ood", "lodo")}
    told = {
        "sets": {"mmlu": {"n": 8403, "regimes": regimes, "baselines": baselines, "curve": {}}},
        "mean_of_8": {"id": None},
        "goals": [{"name": "mmlu, all labels", "value": 0.6914, "goal": 0.75, "at_most": False, "met": False}],
    }
    readme = tmp_path / "README.md"
    readme.write_text(f"# Words\n\n{routing_tables.block(told)}\nMore words\n")
    assert routing_tables.differences(readme, told) == []
    readme.write_text(readme.read_text().replace("**0.691**", "**0.693**"))
    assert any("**0.693**" in line for line in routing_tables.differences(readme, told))
    readme.write_text("# Words\n")
    assert "holds no block" in routing_tables.differences(readme, told)[0]
