"""What an ask plainly demands is read, and nothing is read into the others."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.quality import demands
from orchestrator.core.quality.demands import Demands, demands_of
from orchestrator.core.types import Message
from tests.samples import request


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        ("Answer in JSON with the keys name and age.", {"json": True}),
        ("Return only valid JSON.", {"json": True}),
        ("Write a Python function that returns the result as JSON.", {"json": False}),
        ("What is JSON?", {"json": False}),
        ("List 5 reasons to exercise.", {"items": 5}),
        ("Give me three ideas for dinner", {"items": 3}),
        ("Name the top ten rivers of Europe", {"items": 10}),
        ("Write 3 paragraphs about cats", {"items": None}),
        ("Give me 20 minutes of your time", {"items": None}),
        ("Write a program with 3 functions and list 2 tests", {"items": None}),
        ("In one word, what colour is the sky?", {"one_word": True}),
        ("Antworte mit einem Wort: Hauptstadt von Italien?", {"one_word": True}),
        ("Réponds en un mot.", {"one_word": True}),
        ("Responde en una palabra.", {"one_word": True}),
        ("Define the word 'love'.", {"one_word": False}),
        ("Summarise it in at most 50 words.", {"most_words": 50}),
        ("Explain in 30 words or less.", {"most_words": 30}),
        ("Höchstens 20 Wörter bitte.", {"most_words": 20}),
        ("Write at least 200 words.", {"most_words": None}),
        ("Summarise the plot in two sentences.", {"sentences": 2}),
        ("Answer with only a number.", {"number": True}),
        ("Give just the number.", {"number": True}),
        ("Pick a number and explain it.", {"number": False}),
        ("Is water wet? Answer yes or no.", {"yes_no": True}),
        ("Should I say yes?", {"yes_no": False}),
        ("What is 2+2?", {"total": 4.0, "closed": False}),
        ("17 * 23", {"total": 391.0}),
        ("Calculate 10 - 4 / 2.", {"total": 8.0}),
        ("What is 2*(3+4)?", {"total": None}),
        ("What is 5?", {"total": None}),
        ("How many apples are 3 bags of 12 apples?", {"closed": True, "question": True}),
        ("Solve for x: 2x + 3 = 11", {"closed": True, "question": False}),
        ("How many days has a leap year?", {"closed": False}),
        ("Which is red?\nA. Sky\nB. Blood\nC. Grass", {"closed": True, "options": 3}),
        ("What is the best way to learn 2 languages?", {"closed": False}),
        ("Find a hotel for 2 adults from 3 to 5 May", {"closed": False}),
        ("How long should I cook 2 eggs for 3 people?", {"closed": False}),
        ("My query takes 30 seconds on 2 million rows. How do I solve this?", {"closed": False}),
        ("Plan 3 days for 2 with $1500 and $200 for food", {"closed": False}),
        ("What is the sum of 3 and the square of 4?", {"closed": True}),
        ("Find $x$ if $\\sqrt{x} = 3$", {"closed": True}),
        ("What is the weather like in the city?", {"language": "en"}),
        ("Was ist die Hauptstadt und wie ist das Wetter?", {"language": "de"}),
        ("Translate to German: what is the best of the day?", {"language": None}),
        ("Paris?", {"language": None}),
        ("Что такое любовь и почему?", {"language": "ru"}),
    ],
)
def test_a_plain_demand_is_read(ask: str, expected: dict[str, Any]) -> None:
    found = demands.read(ask)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "ask", ["Hi there!", "Write a poem about the sea", "Why is the sky blue?", "Fix my code please", "", "\n\n?"]
)
def test_an_ordinary_ask_demands_no_form(ask: str) -> None:
    free = ("language", "question", "topic")
    found = demands.read(ask)
    assert {f.name: getattr(found, f.name) for f in fields(Demands) if f.name not in free} == {
        f.name: f.default for f in fields(Demands) if f.name not in free
    }


def test_a_system_turn_that_names_a_language_releases_the_answer_from_the_asks() -> None:
    asked = Message(role="user", content="What is the best way to cook rice for the week?")
    told = Message(role="system", content="Always answer in French.")
    assert demands_of(request(messages=(asked,))).language == "en"
    assert demands_of(request(messages=(told, asked))).language is None


@given(ask=st.text(max_size=400))
def test_every_ask_can_be_read_and_reads_the_same_again(ask: str) -> None:
    assert demands.read(ask) == demands.read(ask)
