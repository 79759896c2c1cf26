"""Learning a gain head: what labels teach, what stays as it was, and an artefact that is read as the shipped one."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.core.errors import InvalidInput
from orchestrator.core.reading import learn, predict
from orchestrator.core.replay import evaluate
from tests.core.test_predict import artefact

VERBS = ("prove", "name", "spell", "derive")
TOPICS = ("lemma", "river", "castle", "flower", "engine", "planet", "violin", "harbour")


def queries(n: int, seed: int) -> list[str]:
    dice = np.random.default_rng(seed)
    return [f"{dice.choice(VERBS)} the {' '.join(dice.choice(TOPICS, 3))} of {dice.choice(TOPICS)}" for _ in range(n)]


def gains(texts: list[str], seed: int) -> np.ndarray:
    """The strong model is worth asking where "derive" is said: 60% of those gain, 10% of the others."""
    dice = np.random.default_rng(seed)
    share = np.where(["derive" in text for text in texts], 0.6, 0.1)
    return (dice.random(len(texts)) < share).astype(float)


@pytest.fixture(scope="module")
def shipped() -> predict.Predictor:
    return predict.load(artefact())


@pytest.fixture(scope="module")
def learned(shipped: predict.Predictor) -> predict.Predictor:
    texts = queries(400, seed=1)
    return predict.load(learn.learned(shipped, texts, gains(texts, seed=2)))


def test_what_the_labels_say_is_read_off_texts_that_were_not_among_them(
    shipped: predict.Predictor, learned: predict.Predictor
) -> None:
    texts = queries(1_000, seed=3)
    gain = gains(texts, seed=4)
    weak, strong = 1 - gain, np.ones(len(gain))
    before = evaluate.apgr(weak, strong, [shipped.read(text).gain for text in texts])
    after = evaluate.apgr(weak, strong, [learned.read(text).gain for text in texts])
    assert before < 0.52
    assert after > 0.7


def test_ease_and_reach_stay_as_they_were(shipped: predict.Predictor, learned: predict.Predictor) -> None:
    for text in queries(20, seed=5):
        for vector in (None, [0.05] * 384):
            before, after = shipped.read(text, vector), learned.read(text, vector)
            assert (after.ease, after.reach) == pytest.approx((before.ease, before.reach), abs=1e-5)


def test_labels_that_say_nothing_leave_the_artefacts_order(shipped: predict.Predictor) -> None:
    texts = queries(200, seed=6)
    read = np.array([shipped.read(text).gain for text in texts])
    after = predict.load(learn.learned(shipped, texts, learn.TRUST * read))
    found = np.array([after.read(text).gain for text in texts])
    assert found == pytest.approx(learn.TRUST * (read - read.mean()), abs=2e-3)


def test_a_usual_text_of_the_class_has_no_gain_and_the_grid_parts_the_training_texts(
    learned: predict.Predictor,
) -> None:
    read = np.array([learned.read(text).gain for text in queries(400, seed=1)])
    assert read.mean() == pytest.approx(0.0, abs=1e-4)
    assert learned.grid is not None
    assert len(learned.grid) <= learn.GRID
    assert np.all(np.diff(learned.grid) > 0)
    assert (learned.grid.min(), learned.grid.max()) == pytest.approx((read.min(), read.max()), abs=0.05)


def test_the_same_labels_give_the_same_bytes_and_others_another_version(shipped: predict.Predictor) -> None:
    texts = queries(100, seed=7)
    once, twice = (learn.learned(shipped, texts, gains(texts, seed=8)) for _ in range(2))
    assert once == twice
    other = predict.load(learn.learned(shipped, texts, gains(texts, seed=9)))
    assert len({predict.load(once).version, other.version, shipped.version}) == 3


def test_learning_goes_on_from_what_was_learned(learned: predict.Predictor) -> None:
    texts = queries(100, seed=10)
    again = predict.load(learn.learned(learned, texts, gains(texts, seed=11)))
    assert again.read("derive the river").gain > again.read("name the river").gain


@pytest.mark.parametrize(
    ("n", "gain", "told"),
    [
        (99, 0.0, "99 labels to learn from; between 100 and 4,000 are needed"),
        (4_001, 0.0, "4001 labels to learn from"),
        (100, 1.5, "gains lie in"),
        (100, float("nan"), "gains lie in"),
    ],
)
def test_too_few_too_many_and_impossible_labels_are_refused_in_words(
    shipped: predict.Predictor, n: int, gain: float, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        learn.learned(shipped, ["a"] * n, [gain] * n)


def test_texts_and_gains_come_in_pairs(shipped: predict.Predictor) -> None:
    with pytest.raises(InvalidInput, match="100 texts and 99 gains"):
        learn.learned(shipped, ["a"] * 100, [0.0] * 99)
