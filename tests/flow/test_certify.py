"""Contracts made from labels: when they are met, what they replace, and a score learned from half of the labels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from orchestrator.adapters.artefacts import shipped_predictor
from orchestrator.core.contract.certificate import State
from orchestrator.core.contract.watch import Watch
from orchestrator.core.errors import InvalidInput, NotFound
from orchestrator.flow.certify import Certified, Promised, certified, certify, halves, put_in_force, revoke
from orchestrator.flow.route import route
from orchestrator.ports import Label
from tests.flow.house import LOCAL, MID, PREMIUM, House, build
from tests.samples import request

VERBS = ("prove", "name", "spell", "derive", "list", "compare")
TOPICS = ("lemma", "river", "castle", "flower", "engine", "planet", "violin", "harbour")
PROMISED = Promised(task_class="quiz", weak=LOCAL, reference=PREMIUM, epsilon=0.05, delta=0.1)


def questions(n: int, seed: int = 1) -> list[str]:
    dice = np.random.default_rng(seed)
    return [f"{dice.choice(VERBS)} the {' '.join(dice.choice(TOPICS, 3))} of {dice.choice(TOPICS)}" for _ in range(n)]


def quiz(n: int, weak: Callable[[str], float], seed: int = 1) -> list[Label]:
    """The reference is right in 9 of 10; the weak model with the probability that `weak` says of a question."""
    dice, made = np.random.default_rng(seed), []
    for text in questions(n, seed):
        outcomes = {LOCAL: float(dice.random() < weak(text)), PREMIUM: float(dice.random() < 0.9)}
        made.append(
            Label(id=UUID(bytes=dice.bytes(16)), tenant="acme", task_class="quiz", outcomes=outcomes, text=text)
        )
    return made


async def test_a_weak_model_that_is_as_good_is_certified_and_answers() -> None:
    house = build()
    contract = await certify(
        house.deps,
        tenant=None,
        task_class="quiz",
        weak=LOCAL,
        reference=PREMIUM,
        epsilon=0.05,
        delta=0.1,
        labels=quiz(600, lambda _: 0.95),
        by="test",
    )
    assert contract.state is State.MET
    assert (contract.task_class, contract.weak, contract.reference) == ("quiz", LOCAL, PREMIUM)
    assert (contract.certificate.n, contract.certificate.epsilon, contract.certificate.delta) == (600, 0.05, 0.1)
    assert contract.scorer == shipped_predictor().version
    assert contract.certified_at == house.clock.now()
    assert (await house.deps.policies.current()).contracts == (contract,)
    watch = await house.deps.labels.watched(contract.version)
    assert watch is not None
    assert (watch.rows, watch.epsilon, watch.alpha, watch.least_inclusion) == (0, 0.05, 0.1, 1.0)


async def test_a_weak_model_that_is_worse_everywhere_leaves_the_reference_to_answer() -> None:
    house = build()
    contract = await certify(
        house.deps,
        tenant=None,
        task_class="quiz",
        weak=LOCAL,
        reference=PREMIUM,
        epsilon=0.0,
        delta=0.1,
        labels=quiz(600, lambda _: 0.0),
        by="test",
    )
    assert contract.state is State.REFERENCE
    assert contract.certificate.threshold == float("-inf")
    assert (await house.deps.policies.current()).contracts == (contract,)


async def test_labels_of_the_store_are_taken_of_one_tenant_or_of_all() -> None:
    house = build()
    for label in quiz(300, lambda _: 0.95):
        await house.deps.labels.add(label)
    for label in quiz(100, lambda _: 0.95, seed=2):
        await house.deps.labels.add(replace(label, tenant="rival"))
    counted = []
    for tenant in ("acme", "rival", None):
        contract = await certify(
            house.deps,
            tenant=tenant,
            task_class="quiz",
            weak=LOCAL,
            reference=PREMIUM,
            epsilon=0.1,
            delta=0.1,
            by="test",
        )
        counted.append(contract.certificate.n)
    assert counted == [300, 100, 400]


async def examined(
    house: House, labels: list[Label], promised: Promised = PROMISED, *, learn: bool = False
) -> Certified:
    return await certified(house.deps, promised, labels, learned=learn)


async def test_a_new_contract_takes_the_place_of_the_one_of_its_class_and_weak_model() -> None:
    house, labels = build(), quiz(400, lambda _: 0.95)
    of_two = [replace(each, outcomes={**each.outcomes, MID: 1.0}) for each in labels]
    for promised in (
        PROMISED,
        replace(PROMISED, weak=MID),
        replace(PROMISED, task_class="essay"),
        replace(PROMISED, epsilon=0.1),
    ):
        await put_in_force(house.deps, await examined(house, of_two, promised), by="test")
    contracts = (await house.deps.policies.current()).contracts
    assert [(each.task_class, each.weak, each.certificate.epsilon) for each in contracts] == [
        ("quiz", LOCAL, 0.1),
        ("quiz", MID, 0.05),
        ("essay", LOCAL, 0.05),
    ]


async def test_two_classes_certified_at_once_are_both_in_force() -> None:
    house, labels = build(), quiz(300, lambda _: 0.95)
    promises = [await examined(house, labels, replace(PROMISED, task_class=name)) for name in ("a", "b", "c")]
    await asyncio.gather(*(put_in_force(house.deps, each, by="test") for each in promises))
    assert sorted(each.task_class for each in (await house.deps.policies.current()).contracts) == ["a", "b", "c"]


async def test_a_promise_that_live_labels_refuted_is_not_made_again_on_the_same_labels() -> None:
    house, labels = build(), quiz(400, lambda _: 0.95)
    made = await examined(house, labels)
    contract = await put_in_force(house.deps, made, by="test")

    def refuted(seen: Watch | None) -> Watch:
        assert seen is not None
        for _ in range(100):
            seen = seen.observe(served=0.0, reference=1.0)
        return seen

    assert (await house.deps.labels.watch(contract.version, refuted)).revoked
    again = await put_in_force(house.deps, await examined(house, labels), by="test")
    assert again.state is State.REVOKED
    more = await put_in_force(house.deps, await examined(house, labels + quiz(50, lambda _: 0.95, seed=3)), by="test")
    assert more.state is State.MET


async def test_a_stored_score_counts_where_this_artefact_gave_it() -> None:
    house = build()
    scorer = shipped_predictor().version
    bare = [replace(each, text=None) for each in quiz(400, lambda _: 0.95)]
    scored = [replace(each, score=0.1, scorer=scorer) for each in bare[:300]]
    foreign = [replace(each, score=0.1, scorer="another") for each in bare[300:]]
    found = await examined(house, scored + foreign)
    assert (found.contract.certificate.n, found.left_out) == (300, 100)
    with pytest.raises(InvalidInput, match=f"none of 100 labels has a text, or a score of artefact {scorer}"):
        await examined(house, foreign)


async def test_labels_chosen_by_chance_are_weighed_by_it() -> None:
    house, labels = build(), quiz(600, lambda _: 0.95)
    rare = [replace(each, inclusion=0.5 if number % 2 else 0.25) for number, each in enumerate(labels)]
    found = await examined(house, rare)
    assert found.least_inclusion == 0.25
    contract = await put_in_force(
        house.deps, replace(found, contract=(await examined(house, labels)).contract), by="test"
    )
    watch = await house.deps.labels.watched(contract.version)
    assert watch is not None
    assert watch.least_inclusion == 0.25


async def test_labels_of_one_request_are_one_row_with_the_outcomes_of_all() -> None:
    house, labels = build(), quiz(300, lambda _: 0.95)
    apart = []
    for each in labels:
        request_id = each.id
        for model in (LOCAL, PREMIUM):
            only = {model: each.outcomes[model]}
            apart.append(replace(each, id=UUID(int=each.id.int ^ len(model)), request_id=request_id, outcomes=only))
    together, whole = await examined(house, apart), await examined(house, labels)
    assert together.contract.certificate == whole.contract.certificate
    assert (await examined(house, [*apart, *apart])).contract.certificate.n == 300


async def test_without_a_label_of_both_models_it_says_whose_outcomes_are_there() -> None:
    house = build()
    lone = [replace(each, outcomes={LOCAL: 1.0}) for each in quiz(5, lambda _: 1.0)]
    with pytest.raises(NotFound, match=f"5 labels are there, with outcomes of: {LOCAL}"):
        await examined(house, lone)
    with pytest.raises(NotFound, match="with outcomes of: nobody"):
        await examined(house, [])


# -- learning


def hard_to_derive(text: str) -> float:
    return 0.2 if "derive" in text or "prove" in text else 0.95


async def test_half_of_the_labels_teach_a_score_and_the_other_half_certify_it() -> None:
    house, labels = build(), quiz(2_000, hard_to_derive)
    before = await examined(house, labels)
    found = await examined(house, labels, learn=True)
    first, second = halves(labels)
    assert len(first) + len(second) == 2_000
    assert 900 < len(first) < 1_100
    assert found.contract.certificate.n == len(second)
    assert found.figures["learned_from"] == {"labels": len(first), "task_class": "quiz"}
    assert found.figures["started_from"] == shipped_predictor().version
    assert found.figures["apgr_after"] > 0.75 > found.figures["apgr_before"]
    assert found.contract.certificate.weak_share > before.contract.certificate.weak_share + 0.2
    assert found.contract.certificate.weak_share == pytest.approx(4 / 6, abs=0.1)


async def test_a_learned_score_is_kept_with_its_datasheet_and_read_by_its_version() -> None:
    house = build()
    found = await examined(house, quiz(800, hard_to_derive), learn=True)
    assert list((await house.deps.policies.current()).contracts) == []
    contract = await put_in_force(house.deps, found, by="test")
    own = await house.deps.policies.predictor(contract.scorer)
    assert own.version == contract.scorer == found.figures["version"]
    assert own.read("derive the lemma").gain > own.read("name the river").gain + 0.2
    assert (await house.deps.policies.current()).scorer is None


async def test_a_contract_is_scored_by_the_artefact_that_certified_it_whatever_other_classes_learned() -> None:
    house = build()
    own = await put_in_force(house.deps, await examined(house, quiz(2_000, hard_to_derive), learn=True), by="test")
    essay = replace(PROMISED, task_class="essay")
    shipped = await put_in_force(house.deps, await examined(house, quiz(400, lambda _: 0.95), essay), by="test")
    assert own.scorer != shipped.scorer
    found = {}
    for task_class in ("quiz", "essay"):
        for text in ("derive the lemma of river", "name the castle of planet"):
            decision = (await route(house.deps, request(text, task_class=task_class))).decision
            promise = decision.plan.promise
            assert promise is not None
            assert (promise.state, promise.kept) == ("met", True)
            found[task_class, text.partition(" ")[0]] = (promise.scorer, decision.plan.rungs[0].model_id)
    assert found == {
        ("quiz", "derive"): (own.scorer, PREMIUM),
        ("quiz", "name"): (own.scorer, LOCAL),
        ("essay", "derive"): (shipped.scorer, LOCAL),
        ("essay", "name"): (shipped.scorer, LOCAL),
    }


async def test_a_label_stays_on_its_side_however_many_join_it() -> None:
    labels = quiz(500, hard_to_derive)
    first, second = halves(labels[:200])
    more_first, more_second = halves(labels)
    assert more_first[: len(first)] == first
    assert more_second[: len(second)] == second


async def test_too_few_labels_teach_nothing() -> None:
    with pytest.raises(InvalidInput, match="labels to learn from; between 100 and 4,000 are needed"):
        await examined(build(), quiz(120, hard_to_derive), learn=True)


# -- revoking by hand


async def test_an_operator_revokes_the_contracts_of_a_class_or_of_one_weak_model() -> None:
    house, labels = build(), quiz(400, lambda _: 0.95)
    of_two = [replace(each, outcomes={**each.outcomes, MID: 1.0}) for each in labels]
    for weak in (LOCAL, MID):
        await put_in_force(house.deps, await examined(house, of_two, replace(PROMISED, weak=weak)), by="test")
    assert [each.weak for each in await revoke(house.deps, task_class="quiz", weak=MID, by="test")] == [MID]
    assert [each.state for each in (await house.deps.policies.current()).contracts] == [State.MET, State.REVOKED]
    assert len(await revoke(house.deps, task_class="quiz", by="test")) == 2
    assert [each.state for each in (await house.deps.policies.current()).contracts] == [State.REVOKED] * 2


async def test_revoking_what_is_not_there_says_what_is() -> None:
    house = build()
    with pytest.raises(NotFound, match="no contract of class 'quiz'; there are: none is made yet"):
        await revoke(house.deps, task_class="quiz", by="test")
    await put_in_force(house.deps, await examined(house, quiz(400, lambda _: 0.95)), by="test")
    with pytest.raises(NotFound, match=f"no contract of class 'quiz' and gpt; there are: quiz \\({LOCAL}\\)"):
        await revoke(house.deps, task_class="quiz", weak="gpt", by="test")
