"""The calibration's arithmetic on weights written out, what an artefact must hold, and what the shipped one says."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from typing import Any

import pytest

from orchestrator.core.errors import InvalidInput
from orchestrator.core.quality import traits, weighing
from orchestrator.core.quality.demands import Demands

SHIPPED = files("orchestrator.core").joinpath("artefacts", "quality.json").read_bytes()
CLOSED = Demands(closed=True)
CHOICE = Demands(closed=True, options=3)


def facts(**changes: Any) -> bytes:
    return json.dumps({**json.loads(SHIPPED), **changes}).encode()


def plain() -> weighing.Weighing:
    """Every weight is 0 but those a test names: t is 2 × (words − 1), clipped at 5."""
    size = len(traits.TRAITS)
    nothing = {"bias": 0.0, "text": 1.0, "agreement": [0.0] * 5, "relevance": 0.0, "neighbours": 0.0}
    heads = {name: dict(nothing) for name in weighing.PATTERNS}
    heads["agreement"]["agreement"] = [1.0, -2.0, -0.5, 0.25, 0.0]
    heads["relevance"]["relevance"] = 3.0
    heads["neighbours"] |= {"neighbours": 4.0, "bias": 0.5}
    return weighing.read(
        facts(
            base=0.5,
            mean=[1.0] + [0.0] * (size - 1),
            deviation=[1.0] * size,
            weights=[2.0] + [0.0] * (size - 1),
            heads=heads,
            relevance={"model": "m", "mean": 0.5, "deviation": 0.25, "match": [10.0, -5.0]},
        )
    )


def test_each_set_of_evidence_has_its_own_row_of_weights() -> None:
    model, read = plain(), [1.5] + [0.0] * (len(traits.TRAITS) - 1)
    assert model.log_odds(read) == 1.0
    assert model.log_odds(read, agreement=[1.0, 0.0, 0.0, 1.0, 0.0]) == 2.25
    assert model.log_odds(read, agreement=[0.0, 1.0, 1.0, 0.0, 0.0]) == -1.5
    assert model.log_odds(read, relevance=0.25) == -2.0
    assert model.log_odds(read, neighbours=0.75) == 2.5
    assert model.log_odds(read, neighbours=0.75, relevance=0.25) == 1.0
    assert model.log_odds(read, predicted=0.75) == pytest.approx(1 + 1.0986123)


def test_an_answer_unlike_all_others_moves_no_further_than_the_clip() -> None:
    far, farther = ([size] + [0.0] * (len(traits.TRAITS) - 1) for size in (100.0, 1e9))
    assert plain().log_odds(far) == plain().log_odds(farther) == 5.0


def test_a_measured_reranker_has_its_own_curve() -> None:
    told = {"model": "m", "mean": 0.5, "deviation": 0.25, "match": [10.0, -5.0], "others": {"cross": [4.0, -2.0]}}
    model = weighing.read(facts(relevance=told))
    assert model.matches(1.0, "cross") == pytest.approx(1 / (1 + math.exp(-2)))
    assert model.matches(0.5, "cross") == model.matches(0.5) == 0.5


def test_a_reply_matches_its_ask_by_the_curve() -> None:
    assert plain().matches(0.5) == 0.5
    assert plain().matches(0.7) == pytest.approx(0.8808, abs=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        facts(format=2),
        facts(traits=["words"]),
        facts(weights=[1.0]),
        facts(heads={}),
        facts(base=None),
        facts(mean=["x"] * len(traits.TRAITS)),
        facts(weights=[float("nan")] * len(traits.TRAITS)),
    ],
)
def test_an_artefact_that_is_not_one_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="run scripts/train-quality again"):
        weighing.read(data)


def test_the_shipped_artefact_names_its_origin_figures_and_limits() -> None:
    sheet = json.loads(SHIPPED)["datasheet"]
    assert {name: each["answers"] for name, each in sheet["trained_on"].items()} == {
        "gsm8k": 796,
        "ze_gsm": 796,
        "ze_crux": 466,
        "ze_math_l5": 441,
        "mmlu_pro": 7185,
    }
    assert "no label stood behind them" in sheet["limits"]
    folds = sheet["out_of_fold"]["folds"]
    assert folds["checks alone"]["auroc_mean"] < folds["text"]["auroc_mean"] < folds["agreement"]["auroc_mean"]


def test_agreement_never_lowers_and_difference_never_raises_in_the_shipped_weights() -> None:
    model = weighing.read(SHIPPED)
    for head in (head for name, head in model.heads.items() if "agreement" in name):
        agreeing, differing, united, agreeing_option, differing_option = head.agreement
        assert agreeing > 0 > differing
        assert agreeing + agreeing_option > 0 > differing + differing_option
        assert united <= 0
        assert head.text > 0


@pytest.mark.parametrize(
    ("expected", "demands", "text"),
    [
        ("42", Demands(), "So it is.\n#### 42"),
        ("42", Demands(), "The answer is 42."),
        ("B", CHOICE, "The answer is (B)."),
        ("B", CHOICE, "It must be (A) or rather (B)"),
        ("C", CHOICE, "C"),
        ("12", CLOSED, "They have 3 and 9, which makes 12 apples."),
        ("1200", CLOSED, "It costs $1,200.00 in all."),
        ("", Demands(), "They have 3 and 9, which makes 12 apples."),
        ("", CLOSED, "Nobody knows."),
        ("x^2", CLOSED, "\\boxed{x^2}"),
    ],
)
def test_the_final_answer_is_found(expected: str, demands: Demands, text: str) -> None:
    assert traits.final_of(demands, text) == expected


@pytest.mark.parametrize(
    ("expected", "final", "others", "option"),
    [
        ([0.6931, 0.0, 0.0, 0.0, 0.0], "4", ["4"], False),
        ([0.0, 1.0986, 1.0, 0.0, 0.0], "4", ["5", "5"], False),
        ([0.0, 1.0986, 0.0, 0.0, 0.0], "4", ["5", "6", ""], False),
        ([0.6931, 0.6931, 0.0, 0.6931, 0.6931], "A", ["A", "B"], True),
        (None, "", ["5"], False),
        (None, "4", ["", ""], False),
        (None, "4", [], False),
    ],
)
def test_agreement_counts_who_answered(
    expected: list[float] | None, final: str, others: list[str], option: bool
) -> None:
    found = traits.agreement_of(final, others, option=option)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-4))
    if expected is not None and final == "A":
        assert traits.agreed(expected) == 0.5


@pytest.mark.parametrize(
    ("expected", "ask", "text"),
    [
        (1.0, "How many cars are needed for 40 people and 3 seats?", "It is 13.3333."),
        (1.0, "How many cars are needed for 40 people and 3 seats?", "It is 13.3."),
        (0.0, "How many cars are needed for 40 people and 3 seats?", "It is 14."),
        (0.0, "How much is 15% of 85?", "It is 12.75."),
        (0.0, "How long is 1.5 times 7?", "It is 10.5."),
        (0.0, "How many?", "Many."),
    ],
)
def test_decimals_that_nothing_calls_for_are_noticed(expected: float, ask: str, text: str) -> None:
    assert (
        dict(zip(traits.TRAITS, traits.traits(CLOSED, ask, text, text.split()), strict=True))["more_decimals"]
        == expected
    )


def test_traits_are_read_off_an_answer() -> None:
    ask = "Which is 4?\nA. 2 + 2\nB. four times two, which is 8"
    text = "So perhaps 2 + 2 makes 4 and the answer is (A"
    found = dict(zip(traits.TRAITS, traits.traits(CHOICE, ask, text, text.split()), strict=True))
    assert {name: round(value, 3) for name, value in found.items()} == {
        "words": 2.565,
        "final": 1.0,
        "more_decimals": 0.0,
        "asked_numbers_used": 0.667,
        "hedges": 0.693,
        "open_end": 1.0,
        "relative_length": -0.087,
        "option_length": 0.323,
    }
