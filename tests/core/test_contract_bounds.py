"""The test behind a certificate: its error on claims that are true, its sharpness on claims that are not."""

from __future__ import annotations

import numpy as np

from orchestrator.core.contract.bounds import Claims, Rows, margins, refuted


def all_weak(losses: np.ndarray) -> Rows:
    """Rows a perfect reference gets right, all sent to the weak model, which fails where told."""
    n = len(losses)
    return Rows(first=np.zeros(n, dtype=np.int64), reference=np.ones(n), gain=-losses.astype(float))


def claim(epsilon: float, delta: float) -> Claims:
    return Claims(policy=np.array([0]), epsilon=np.array([epsilon]), delta=np.array([delta]))


def refutations(n: int, rate: float, epsilon: float, delta: float, times: int) -> int:
    dice = np.random.default_rng(n)
    return sum(
        bool(refuted(all_weak(dice.random(n) < rate), claim(epsilon, delta), draw=1 - dice.random())[0])
        for _ in range(times)
    )


def test_margins_are_what_is_served_less_what_is_promised() -> None:
    rows = Rows(first=np.array([0, 1, 0]), reference=np.array([1.0, 1.0, 0.5]), gain=np.array([-1.0, -1.0, 0.5]))
    claims = Claims(policy=np.array([0, 1]), epsilon=np.array([0.25, 0.5]), delta=np.array([0.1, 0.1]))
    expected = [[-0.75, -0.5], [0.25, -0.5], [0.625, 0.75]]
    np.testing.assert_allclose(margins(rows, claims, 0, 3), expected)


def test_rare_heavy_losses_do_not_fool_it_where_a_z_test_is_fooled() -> None:
    # 5% fail, 5% may fail: the claim is true. Of 40 rows none fails with probability 0.95⁴⁰ = 0.13, and a z-test,
    # seeing no variance, would refute each time.
    assert refutations(40, rate=0.05, epsilon=0.05, delta=0.05, times=600) <= 30 + 3 * 5.3


def test_a_true_claim_is_refuted_about_as_often_as_allowed_when_rows_are_many() -> None:
    found = refutations(1500, rate=0.05, epsilon=0.05, delta=0.1, times=200)
    assert 20 - 3 * 4.2 <= found <= 20 + 3 * 4.2


def test_a_false_claim_is_refuted_nearly_as_often_as_the_best_test_would() -> None:
    # 3.6% fail, 5% may: the z-test's chance at n = 1500 is 0.89
    assert refutations(1500, rate=0.036, epsilon=0.05, delta=0.1, times=100) >= 80


def test_a_whole_population_without_a_doubt_is_decided_exactly() -> None:
    losses = np.zeros(400, dtype=bool)
    losses[:10] = True  # 2.5% fail, 5% may
    losses = losses[np.random.default_rng(1).permutation(400)]
    assert refuted(all_weak(losses), claim(0.05, 0.01), draw=1.0, population=400)[0]
    losses[np.flatnonzero(~losses)[:30]] = True  # now 10% fail
    assert not refuted(all_weak(losses), claim(0.05, 0.2), draw=0.01, population=400)[0]


def test_claims_are_judged_each_by_itself() -> None:
    rows = all_weak(np.random.default_rng(2).random(800) < 0.04)
    levels = [(0.01, 0.1), (0.05, 0.1), (0.2, 0.1), (0.2, 0.001)]
    together = refuted(
        rows,
        Claims(policy=np.zeros(4, dtype=np.int64), epsilon=np.array([e for e, _ in levels]),
               delta=np.array([d for _, d in levels])),
        draw=0.5,
    )  # fmt: skip
    alone = [bool(refuted(rows, claim(e, d), draw=0.5)[0]) for e, d in levels]
    assert together.tolist() == alone
    assert alone[2:] == [True, True]
    assert not alone[0]
