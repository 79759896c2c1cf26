"""The demo's quality contracts: certified on recorded outcomes of other questions, then in force. Routes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from uuid import NAMESPACE_OID, uuid5

from orchestrator.cli.demo_prompts import OPEN_MODEL, OPEN_SERVER
from orchestrator.core.contract.certificate import Contract
from orchestrator.flow.certify import certify
from orchestrator.ports import Label
from registry.schema import Tier

TASK_CLASS = "exam"
LOCAL = f"{OPEN_SERVER}/{OPEN_MODEL}"
# The promise as a whole: 95% of the reference's quality with probability 0.9. Two contracts share it between them.
EPSILON, DELTA = 0.05, 0.1
_SHARES = ((LOCAL, 0.02), ("deepseek-chat", 0.03))
_DELTA_EACH = DELTA / len(_SHARES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Promised:
    """What the demo promised, and on how many labels."""

    contracts: tuple[Contract, ...]
    labels: int


async def promise(database_url: str, reference: str) -> Promised:
    """Certifies the contracts and puts them in force. A running API follows within seconds."""
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    labels = list(recorded_labels(reference))
    async with wiring.open_desk(database_url) as desk:
        made = [
            await certify(
                desk,
                tenant=None,
                task_class=TASK_CLASS,
                weak=weak,
                reference=reference,
                epsilon=epsilon,
                delta=_DELTA_EACH,
                labels=labels,
                by="pennyroute demo",
            )
            for weak, epsilon in _SHARES
        ]
    return Promised(contracts=tuple(made), labels=len(labels))


def recorded_labels(reference: str) -> Iterator[Label]:
    """Score and grades of the recorded questions that the demo does not ask; no text was kept of them."""
    told = json.loads(_data())
    models = {Tier.LOCAL: LOCAL, Tier.MID: _SHARES[1][0], Tier.PREMIUM: reference}
    columns: Sequence[str] = told["columns"]
    for number, row in enumerate(told["rows"]):
        values = dict(zip(columns, row, strict=True))
        yield Label(
            id=uuid5(NAMESPACE_OID, f"demo {number}"),
            tenant="default",
            task_class=TASK_CLASS,
            outcomes={models[tier]: float(values[tier]) for tier in models},
            score=values["score"],
            scorer=told["scorer"],
            source="recorded",
        )


def _data() -> str:
    return resources.files("orchestrator.adapters.wire").joinpath("replay", "labels.json").read_text("utf-8")
