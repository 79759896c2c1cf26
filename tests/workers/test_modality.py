"""What a modality is given: a batch that can be stopped, and the variant of its weights that fits the worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.schema import Billing, Card, Engine, Task, Tier, Variant
from workers.modality import Batch, Code, Item, Machine, WorkerError

GIB = 2**30


def card() -> Card:
    large = Variant(name="Q8_0", format="gguf", engine=Engine.BUILTIN, files=("large.gguf",), memory_bytes=4 * GIB)
    small = Variant(name="Q4_K_M", format="gguf", engine=Engine.BUILTIN, files=("small.gguf",), memory_bytes=GIB)
    return Card(
        id="two",
        provider="huggingface",
        name="two",
        tasks=(Task.GENERATE,),
        tier=Tier.LOCAL,
        queue="llm",
        billing=Billing.NONE,
        hub_id="org/two",
        variants=(large, small),
    )


@pytest.mark.parametrize(("memory_bytes", "expected"), [(8 * GIB, "Q8_0"), (2 * GIB, "Q4_K_M"), (None, "Q8_0")])
def test_of_two_variants_the_best_that_fits_the_worker_is_taken(
    tmp_path: Path, memory_bytes: int | None, expected: str
) -> None:
    for variant in card().variants:
        folder = tmp_path / "two" / variant.name
        folder.mkdir(parents=True)
        (folder / (variant.files or ("",))[0]).write_bytes(b"GGUF")
    found = Machine(models_dir=tmp_path, memory_bytes=memory_bytes).placed(card())
    assert found is not None
    assert found.variant is not None
    assert found.variant.name == expected


def test_a_batch_nobody_waits_for_is_stopped_and_one_item_of_it_alone_is_asked_for_itself() -> None:
    said: list[tuple[int, str]] = []
    batch = Batch(
        task=Task.GENERATE,
        items=(Item(), Item()),
        say=lambda number, text: said.append((number, text)),
        stopped=lambda number: number == 1,
    )
    batch.check_time()
    batch.alone(0).say(0, "hello")
    assert said == [(0, "hello")]
    with pytest.raises(WorkerError, match="nobody waits") as stopped:
        batch.alone(1).check_time()
    assert stopped.value.code is Code.TIMEOUT
