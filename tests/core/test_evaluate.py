"""The grading of routers: worked examples by hand, and properties that must hold for any outcomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.replay import evaluate

# Four queries: only the strong model answers the first two, both answer the third, neither the fourth.
WEAK, STRONG = [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]
BEST, WORST = [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]


def test_the_curve_starts_all_weak_and_ends_all_strong() -> None:
    points = evaluate.curve(WEAK, STRONG, BEST)
    assert points.share.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert points.quality.tolist() == [0.25, 0.5, 0.75, 0.75, 0.75]
    assert points.pgr.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]


def test_apgr_is_the_area_under_the_recovered_gap() -> None:
    assert evaluate.apgr(WEAK, STRONG, BEST) == pytest.approx(0.75)
    assert evaluate.apgr(WEAK, STRONG, WORST) == pytest.approx(0.25)


def test_equal_scores_count_as_every_order_of_them() -> None:
    assert evaluate.apgr(WEAK, STRONG, [7.0, 7.0, 7.0, 7.0]) == pytest.approx(0.5)
    assert evaluate.curve(WEAK, STRONG, [1, 0, 1, 0]).quality.tolist() == [0.25, 0.375, 0.5, 0.625, 0.75]


def test_a_mix_may_beat_the_strong_model() -> None:
    points = evaluate.curve([1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1, 3, 2])
    assert points.pgr.tolist() == pytest.approx([0.0, 1.0, 2.0, 1.0])


def test_routellms_apgr_uses_eleven_thresholds_at_or_above_which_a_query_goes_strong() -> None:
    weak, strong = np.zeros(10), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1.0])
    # Thresholds 0, 0.9, …, 9 take 10, 9, …, 1, 1 calls; shares run from 0.1 to 1, all gain is in the first half.
    assert evaluate.apgr_routellm(weak, strong, np.arange(10.0)) == pytest.approx((0.4 * 0.6 + 0.5) / 0.9)
    assert evaluate.apgr_routellm(weak, strong, np.ones(10)) == 0.5


def test_cpt_is_the_smallest_share_that_recovers_the_gap_asked_for() -> None:
    assert evaluate.cpt(WEAK, STRONG, BEST, 0.5) == 0.25
    assert evaluate.cpt(WEAK, STRONG, BEST, 0.8) == 0.5
    assert evaluate.cpt(WEAK, STRONG, WORST, 0.8) == 1.0


def test_saving_counts_calls_and_dollars_against_always_strong() -> None:
    found = evaluate.saving(WEAK, STRONG, BEST, 0.95, weak_usd=[1, 1, 1, 1], strong_usd=[10, 20, 30, 40])
    assert (found.share, found.calls_saved) == (0.5, 0.5)
    assert found.dollars_saved == pytest.approx(1 - (10 + 20 + 1 + 1) / 100)


def test_the_oracles_regret_is_nothing_and_the_worst_orders_is_the_gap() -> None:
    assert evaluate.regret(WEAK, STRONG, evaluate.oracle_score(WEAK, STRONG), 0.5) == 0.0
    assert evaluate.regret(WEAK, STRONG, WORST, 0.5) == pytest.approx(0.5)


def test_auroc_counts_ties_half() -> None:
    assert evaluate.auroc([False, True, True], [0.1, 0.9, 0.8]) == 1.0
    assert evaluate.auroc([False, True, False, True], [0.5, 0.5, 0.1, 0.9]) == pytest.approx(0.875)
    assert np.isnan(evaluate.auroc([True, True], [0.1, 0.2]))


def test_a_calibrated_prediction_loses_most_of_the_error_that_noise_adds() -> None:
    errors = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.1, 0.9, 3_000)
        errors.append(evaluate.calibration_error(p, rng.uniform(size=3_000) < p))
    assert np.mean(errors) < 0.017  # without the correction their mean is 0.024


def test_a_prediction_that_is_off_by_a_tenth_has_that_error() -> None:
    rng = np.random.default_rng(7)
    p = rng.uniform(0.1, 0.8, 20_000)
    assert evaluate.calibration_error(p, rng.uniform(size=20_000) < p + 0.1) == pytest.approx(0.1, abs=0.01)


def test_apgrs_interval_agrees_with_the_general_one_on_the_same_draws() -> None:
    rng = np.random.default_rng(3)
    weak, strong = rng.integers(0, 2, 300).astype(float), rng.integers(0, 2, 300) * 0.5 + 0.5
    score = rng.integers(0, 40, 300).astype(float)
    draws = rng.integers(0, 300, (40, 300))
    fast = evaluate.apgr_interval(weak, strong, score, draws)
    plain = evaluate.interval(lambda rows: evaluate.apgr(weak[rows], strong[rows], score[rows]), draws)
    assert (fast.value, fast.low, fast.high) == pytest.approx((plain.value, plain.low, plain.high))
    assert fast.low < fast.value < fast.high


def test_outcomes_without_a_gap_are_refused() -> None:
    with pytest.raises(evaluate.UnusableOutcomes, match="no gap to recover"):
        evaluate.apgr([1.0, 0.0], [0.0, 1.0], [1, 2])


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    with pytest.raises(evaluate.UnusableOutcomes, match="have 2, 2, 1"):
        evaluate.apgr([0.0, 0.0], [0.0, 1.0], [1])
    with pytest.raises(evaluate.UnusableOutcomes, match="1 scores are not finite"):
        evaluate.apgr([0.0, 0.0], [0.0, 1.0], [1, float("nan")])


OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=2, max_size=40)


@settings(deadline=None)
@given(OUTCOMES)
def test_no_score_beats_the_oracle_and_its_reverse_mirrors_it(rows: list[tuple[bool, bool, int]]) -> None:
    weak, strong, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if strong.mean() <= weak.mean():
        weak, strong = strong, weak
    if strong.mean() == weak.mean():
        return
    mine = evaluate.apgr(weak, strong, score)
    assert mine <= evaluate.apgr(weak, strong, evaluate.oracle_score(weak, strong)) + 1e-9
    assert mine + evaluate.apgr(weak, strong, -score) == pytest.approx(1.0)
    assert evaluate.regret(weak, strong, score, 0.37) >= -1e-9
