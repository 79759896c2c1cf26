"""Which variant fits: by stated factors, most precise first, refused with figures and a smaller model to try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.load import Registry, load
from registry.schema import Card
from registry.weights import MissingWeights, TooBig, choose_variant, need, placed
from tests.registry import files
from tests.registry.cards import local

GB, MB = 10**9, 10**6


def quantised(**changes: Any) -> Card:
    """A model of two billion parameters in three quantisations."""
    variants = tuple({"name": name, "format": "gguf"} for name in ("Q2_K", "Q8_0", "Q4_K_M"))
    return local(**{"variants": variants, "parameters": 2 * GB, **changes})


@pytest.mark.parametrize(
    ("available", "chosen"),
    [(8 * GB, "Q8_0"), (2_850 * MB, "Q8_0"), (2_849 * MB, "Q4_K_M"), (1_858 * MB, "Q4_K_M"), (1_381 * MB, "Q2_K")],
)
def test_the_most_precise_variant_that_fits_is_chosen(available: int, chosen: str) -> None:
    assert choose_variant(quantised(), available).name == chosen


def test_what_nothing_fits_is_refused_with_required_and_available_memory_and_a_smaller_model() -> None:
    small = local(id="small", variants=({"name": "Q2_K", "format": "gguf", "memory_bytes": 300 * MB},))
    smaller = local(id="smaller", variants=({"name": "Q2_K", "format": "gguf", "memory_bytes": 100 * MB},))
    huge = local(id="huge", variants=({"name": "Q2_K", "format": "gguf", "memory_bytes": 9 * GB},))
    cards = {card.id: card for card in (quantised(), small, smaller, huge)}
    registry = Registry(cards=cards, by_alias={}, by_task={}, by_role={}, version="0" * 64)
    with pytest.raises(TooBig) as told:
        choose_variant(quantised(), 500 * MB, registry)
    assert str(told.value) == (
        "local needs 1381 MB of memory, its worker may keep 500 MB; try small, or give the worker more: "
        "PENNYROUTE_WORKER_MEMORY_SHARE for those of `pennyroute up`, --memory-mib for one of your own"
    )
    assert (told.value.required_bytes, told.value.available_bytes) == (1_380_807_500, 500 * MB)
    assert told.value.smaller == "small"


def test_without_a_registry_the_fallback_of_the_card_is_advised() -> None:
    with pytest.raises(TooBig, match="try vader"):
        choose_variant(quantised(fallback="vader"), 10 * MB)


def test_a_figure_of_the_card_counts_before_any_estimate() -> None:
    card = local(variants=({"name": "fp16", "format": "gguf", "bytes": GB, "memory_bytes": 3 * GB},))
    found = need(card, card.variants[0])
    assert found is not None
    assert (found.bytes, found.measured) == (3 * GB, True)


def test_sizes_on_disk_count_before_recorded_ones(tmp_path: Path) -> None:
    card = local(variants=({"name": "fp32", "format": "safetensors", "engine": "onnxruntime", "bytes": GB},))
    (tmp_path / "model.safetensors").write_bytes(bytes(2 * MB))
    found, recorded = need(card, card.variants[0], tmp_path), need(card, card.variants[0])
    assert found is not None
    assert recorded is not None
    assert (found.bytes, found.measured) == (67 * MB, False)
    assert recorded.bytes == 1_564 * MB


def test_half_precision_files_that_run_in_full_precision_count_twice() -> None:
    halves = local(variants=({"name": "fp16", "format": "safetensors", "engine": "onnxruntime", "bytes": 100 * MB},))
    found = need(halves, halves.variants[0])
    assert found is not None
    assert found.bytes == 364 * MB


def test_a_variant_nothing_is_known_about_is_taken_to_fit() -> None:
    card = local(variants=({"name": "fp32", "format": "safetensors", "engine": "onnxruntime"},))
    assert need(card, card.variants[0]) is None
    assert choose_variant(card, 1).name == "fp32"


def test_a_card_without_variants_has_none_to_choose() -> None:
    with pytest.raises(MissingWeights, match="local has no variant to choose"):
        choose_variant(local(), GB)


def test_of_several_variants_on_disk_the_best_that_fits_is_placed(tmp_path: Path) -> None:
    card = quantised()
    for name, values in (("Q2_K", 320), ("Q8_0", 3_200_000)):
        folder = tmp_path / "local" / name
        folder.mkdir(parents=True)
        (folder / f"model-{name}.gguf").write_bytes(files.gguf(values))
    chosen = {
        available: found.variant.name
        for available in (None, GB, 515 * MB, 1)
        if (found := placed(card, tmp_path, available_memory_bytes=available)) and found.variant
    }
    assert chosen == {None: "Q8_0", GB: "Q8_0", 515 * MB: "Q2_K", 1: "Q2_K"}


def test_the_shipped_llama_takes_a_quantised_file_before_the_heavier_engine() -> None:
    card = load().get("llama-3.2-1b-instruct")
    assert choose_variant(card, 64 * GB).name == "Q8_0"
    assert choose_variant(card, 1_500 * MB).name == "Q5_K_M"
