"""Signs read off a cheap answer: the final answer in its many forms, sums that are re-done, who agrees with whom."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.reading import answers

CHOICE = "What is 6 times 7?\nA. 36\nB. 42\nC. 48\nAnswer:"


def signal(query: str, answer: str, name: str) -> float:
    return answers.signals(query, answer)[answers.SIGNALS.index(name)]


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        ("He has 5 left.\n#### 1,250", "1,250"),
        ('{"reasoning": "so", "answer": "{\'u\': 10, \'v\': 2}"}', "{'u': 10, 'v': 2}"),
        ('```json\n{\n "answer": 12\n}\n```', "12"),
        ("We multiply. The answer is (B).", "B"),
        ("so it is \\boxed{7}", "7"),
        ("I cannot tell.", ""),
    ],
)
def test_the_final_answer_is_found_in_its_usual_places(answer: str, final: str) -> None:
    assert answers.final_answer(answer) == final


@pytest.mark.parametrize(
    ("one", "other"),
    [("(b)", "B."), ("$1,250", "1250.0"), ("12 apples", "12"), ("\\dfrac{1}{2}", "\\frac{1}{2}"), ("'ab'", "ab")],
)
def test_answers_that_mean_the_same_are_the_same_once_normalised(one: str, other: str) -> None:
    assert answers.normalised(one) == answers.normalised(other)


def test_answers_that_differ_stay_different() -> None:
    assert len({answers.normalised(each) for each in ("A", "B", "12", "12.5", "-12", "x+1")}) == 6


def test_a_wrong_sum_is_told_from_a_right_one() -> None:
    assert signal("", "5 * 3 = 15 and 2 + 3 * 4 = 14", "wrong_equations") == 0.0
    assert signal("", "5 * 3 = 16 and 10 - 3 - 2 = 5", "wrong_equations") == pytest.approx(math.log(2))
    assert signal("", "<<5*3=15>>", "equations") == pytest.approx(math.log(2))


def test_a_letter_that_was_not_offered_and_one_that_was_computed_are_told() -> None:
    assert signal(CHOICE, "6 times 7 is 42. The answer is (B).", "option_computed") == 1.0
    assert signal(CHOICE, "6 times 7 is 42. The answer is (C).", "other_option_computed") == 1.0
    assert signal(CHOICE, "The answer is (F).", "letter_offered") == 0.0


def test_agreement_counts_who_is_with_the_weak_model() -> None:
    told = dict(zip(answers.AGREEMENTS, answers.agreement(["B", "(b)", "C"]), strict=True))
    assert (told["with_weak"], told["largest"], told["distinct"], told["weak_in_largest"]) == (1.0, 2.0, 2.0, 1.0)
    assert answers.pairs(["B", "(b)", "C"]) == [1.0, 0.0, 0.0]


def test_an_empty_answer_agrees_with_nobody() -> None:
    told = dict(zip(answers.AGREEMENTS, answers.agreement(["", "", "C"]), strict=True))
    assert (told["with_weak"], told["missing"], told["weak_missing"], told["weak_in_largest"]) == (0.0, 1.0, 1.0, 0.0)


@settings(deadline=None)
@given(st.text(max_size=200), st.text(alphabet="0123456789+-*/=.,() AB\n#x", max_size=200))
def test_any_answer_has_one_finite_number_per_signal(query: str, answer: str) -> None:
    found = answers.signals(query, answer)
    assert len(found) == len(answers.SIGNALS)
    assert all(map(math.isfinite, found))
