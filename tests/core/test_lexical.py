"""Words, counts and surface signals of a text: worked examples, and what must hold for any text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.reading import lexical

CHOICE = "Which of these is not prime?\nA. 7\nB. 9\nC. 11\nD. 13\nAnswer:"


def signal(text: str, name: str) -> float:
    return lexical.signals(text)[lexical.SIGNALS.index(name)]


def test_marks_are_tokens_and_words_are_lower_case() -> None:
    assert lexical.tokens("Let $x_1 = 3.5$!") == ["let", "$", "x", "_", "1", "=", "3", ".", "5", "$", "!"]


def test_counts_hold_words_and_pairs_of_neighbours() -> None:
    found = lexical.counts("red red blue", 1 << 20)
    # red twice, blue, "red red", "red blue": four terms in four buckets.
    assert sorted(found.values()) == pytest.approx([1.0, 1.0, 1.0, 1.0 + math.log(2)])


def test_buckets_do_not_depend_on_the_process() -> None:
    assert lexical.counts("prime", 1 << 15) == {3927: 1.0}


def test_options_are_lines_that_begin_with_a_letter() -> None:
    assert lexical.options_of(CHOICE) == {"A": "7", "B": "9", "C": "11", "D": "13"}
    assert lexical.options_of("A. is for apple") == {}


def test_a_multiple_choice_question_about_numbers_is_read_as_one() -> None:
    assert signal(CHOICE, "options") == 4.0
    assert signal(CHOICE, "numeric_options") == 1.0
    assert signal(CHOICE, "negations") == pytest.approx(math.log(2))
    assert signal(CHOICE, "asks_which") == 1.0


def test_maths_and_code_leave_signs() -> None:
    assert signal("Evaluate $\\frac{1}{2}$", "latex") == pytest.approx(math.log(4))
    assert signal("def f(x):\n    return x == 1", "code") > 0
    assert signal("Tell me of Rome", "code") == signal("Tell me of Rome", "latex") == 0.0


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_one_finite_number_per_signal(text: str) -> None:
    found = lexical.signals(text)
    assert len(found) == len(lexical.SIGNALS)
    assert all(map(math.isfinite, found))
    assert all(0 <= bucket < 64 for bucket in lexical.counts(text, 64))
