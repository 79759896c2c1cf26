"""The operator's rules: whom they fit, what they change, and that limits only get stricter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.errors import ConfigError
from orchestrator.core.routing.policy import RoutingPolicy
from orchestrator.core.routing.rules import Rule, applied
from orchestrator.core.types import Caller, Constraints, Strategy
from registry.schema import Tier
from tests.samples import request


@pytest.mark.parametrize(
    ("rule", "changes", "fits"),
    [
        ({}, {}, True),
        ({"users": ("ann",)}, {"user": "ann"}, True),
        ({"users": ("ann",)}, {"user": "bob"}, False),
        ({"users": ("ann",)}, {}, False),
        ({"users": ("team-*",)}, {"user": "team-7"}, True),
        ({"tenants": ("acme",)}, {"caller": Caller(tenant="acme")}, True),
        ({"tags": ("batch",)}, {"tags": ("night", "batch")}, True),
        ({"tags": ("batch",)}, {"tags": ()}, False),
        ({"task_classes": ("support*",)}, {"task_class": "support-reply"}, True),
        ({"users": ("ann",), "tags": ("batch",)}, {"user": "ann", "tags": ("day",)}, False),
    ],
)
def test_a_rule_fits_where_each_kind_of_its_patterns_does(
    rule: dict[str, Any], changes: dict[str, Any], fits: bool
) -> None:
    assert Rule(name="r", **rule).fits(request(**changes)) is fits


def test_the_first_rule_that_fits_is_the_only_one() -> None:
    rules = (
        Rule(name="ann", users=("ann",), strategy=Strategy.LOCAL_ONLY),
        Rule(name="all", strategy=Strategy.PREMIUM_ONLY),
    )
    assert applied(request(user="ann"), rules).strategy is Strategy.LOCAL_ONLY
    under = applied(request(user="bob"), rules)
    assert (under.strategy, under.rule) == (Strategy.PREMIUM_ONLY, "all")
    assert applied(request(), ()).rule is None


def test_a_named_model_of_the_request_stands_before_the_rules() -> None:
    rules = (Rule(name="r", model="gpt-4o"),)
    assert applied(request(), rules).model == "gpt-4o"
    assert applied(request(model="claude-sonnet"), rules).model == "claude-sonnet"


LIMITS = st.none() | st.floats(0, 1)
COSTS = st.none() | st.integers(0, 10**9)
TIERS = st.none() | st.frozensets(st.sampled_from([Tier.LOCAL, Tier.MID, Tier.PREMIUM]), min_size=1)


@given(LIMITS, COSTS, TIERS, LIMITS, COSTS, TIERS)
def test_limits_only_get_stricter(
    quality: float | None,
    cost: int | None,
    tiers: frozenset[Tier] | None,
    rule_quality: float | None,
    rule_cost: int | None,
    rule_tiers: frozenset[Tier] | None,
) -> None:
    asked = request(constraints=Constraints(min_quality=quality, max_cost_nanousd=cost, tiers=tiers))
    rule = Rule(name="r", min_quality=rule_quality, max_cost_nanousd=rule_cost, tiers=tuple(sorted(rule_tiers or ())))
    limits = applied(asked, (rule,)).constraints
    for bound in (quality, rule_quality):
        assert bound is None or (limits.min_quality is not None and limits.min_quality >= bound)
    for most in (cost, rule_cost):
        assert most is None or (limits.max_cost_nanousd is not None and limits.max_cost_nanousd <= most)
    for allowed in (tiers, rule_tiers):
        assert allowed is None or (limits.tiers is not None and limits.tiers <= allowed)


def test_rules_survive_the_policys_row() -> None:
    rule = Rule(name="r", users=("a*",), strategy=Strategy.LOCAL_ONLY, tiers=(Tier.LOCAL,), min_quality=0.5)
    policy = RoutingPolicy(rules=(rule,))
    again = RoutingPolicy.from_dict(policy.as_dict())
    assert again.rules == (rule,)
    assert again.version == policy.version


@pytest.mark.parametrize("row", [{"name": "r", "usrs": ["a"]}, {"name": "r", "strategy": "cheap"}, {"users": ["a"]}])
def test_a_rule_that_cannot_be_read_is_told(row: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="routing policy 'default' cannot be read"):
        RoutingPolicy.from_dict({"rules": [row]})
