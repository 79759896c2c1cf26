"""How much memory a variant takes and which one fits; it measures nothing and reads no file but its size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.engines import lacking
from registry.load import Registry
from registry.schema import Card, Engine, Tier, Variant
from registry.weights.errors import MissingWeights, TooBig
from registry.weights.folders import names_in

MB = 1_000_000
# Memory as a multiple of the files, and what is added to that. Stated, not measured for every model: the worker
# measures each model when it is loaded. ONNX Runtime: MiniLM's 91 MB became 110 to 180 MB on top of the process.
# CTranslate2 turns fp16 into fp32 on a CPU. llama.cpp maps its file and adds a context of 4096 tokens and compute
# buffers.
# The order is the one in which engines are preferred for the same model: light ones first.
FACTOR = {
    Engine.BUILTIN: (4.0, 16 * MB),
    Engine.ONNXRUNTIME: (1.5, 64 * MB),
    Engine.LLAMA_CPP: (1.1, 512 * MB),
    Engine.FASTER_WHISPER: (2.0, 100 * MB),
    Engine.PADDLEOCR: (2.0, 600 * MB),
    Engine.TRANSFORMERS: (1.3, 300 * MB),
}
# Bits per weight. GGUF: llama.cpp's tools/quantize/README.md on Llama 3.1 8B; Q3_K_M is not listed there and takes
# the next larger one's (Q3_K_L).
BITS = {
    "Q2_K": 3.1593,
    "Q3_K_M": 4.2979,
    "Q4_K_M": 4.8944,
    "Q5_K_M": 5.7036,
    "Q6_K": 6.5633,
    "Q8_0": 8.5008,
    "int8": 8.0,
    "fp16": 16.0,
    "bf16": 16.0,
    "fp32": 32.0,
}
MORE_MEMORY = (
    "give the worker more: PENNYROUTE_WORKER_MEMORY_SHARE for those of `pennyroute up`, "
    "--memory-mib for one of your own"
)
_LIGHT_FIRST = tuple(FACTOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Memory of a loaded model. `measured`: the card says so; otherwise it is worked out from sizes."""

    bytes: int
    measured: bool


def need(card: Card, variant: Variant | None, folder: Path | None = None) -> Need | None:
    """What this variant will take once it is loaded; None where nothing is known that it could be worked out from.

    A measured figure of the card comes first, then the files in `folder`, their recorded sizes, then the number of
    parameters times the bits of each.
    """
    measured = (variant.memory_bytes if variant else None) or (
        card.memory_bytes if _speaks_for(card, variant) else None
    )
    if measured is not None:
        return Need(bytes=measured, measured=True)
    files = file_bytes(card, variant, folder)
    if files is None:
        return Need(bytes=card.memory_bytes, measured=True) if card.memory_bytes else None
    engine = (variant.runs_on if variant else None) or Engine.TRANSFORMERS
    factor, more = FACTOR[engine]
    if engine is Engine.ONNXRUNTIME and variant is not None and bits_of(variant) == BITS["fp16"]:
        factor *= 2  # the graph is written and run in fp32, whatever the file holds
    return Need(bytes=int(files * factor) + more, measured=False)


def file_bytes(card: Card, variant: Variant | None, folder: Path | None = None) -> int | None:
    """Bytes of the files: on disk, recorded, or estimated by the parameters; None where nothing says."""
    if folder is not None:
        return sum((folder / name).stat().st_size for name in names_in(folder))
    if variant is None:
        return None
    if variant.bytes is not None:
        return variant.bytes
    bits = bits_of(variant)
    return int(card.parameters * bits / 8) if card.parameters and bits else None


def bits_of(variant: Variant) -> float | None:
    """Bits per weight by the variant's name: Q4_K_M, fp32, onnx-fp32."""
    return BITS.get(variant.name.rpartition("-")[2])


def precise_first(variants: Iterable[Variant]) -> list[Variant]:
    """Those whose engine is installed come first, lighter engines before heavier, then more bits before fewer,
    then as the card lists them.

    llama.cpp stands before torch for the same model: on a CPU it answers several times as fast.
    """
    return sorted(variants, key=_order)


def choose_variant(card: Card, available_memory_bytes: int, registry: Registry | None = None) -> Variant:
    """The most precise variant that fits in so much memory; one whose need is not known is taken to fit, last.

    Raises TooBig with required and available MB and, with a registry, a smaller model to try; MissingWeights for a
    card that has no variant.
    """
    ordered = precise_first(card.variants)
    if not ordered:
        raise MissingWeights(f"{card.id} has no variant to choose; its card names no weights")
    needs = [(variant, need(card, variant)) for variant in ordered]
    for variant, found in needs:
        if found and found.bytes <= available_memory_bytes and _runs(variant) == _runs(ordered[0]):
            return variant
    for variant, found in needs:
        if found is None or found.bytes <= available_memory_bytes:
            return variant
    least = min(found.bytes for _, found in needs if found)
    raise too_big(card, least, available_memory_bytes, registry)


def too_big(card: Card, required_bytes: int, available_bytes: int, registry: Registry | None = None) -> TooBig:
    """The error for a model that does not fit into its worker, with a smaller one to try and what gives it more."""
    smaller = smaller_model(card, available_bytes, registry)
    advice = f"try {smaller}, or" if smaller else "no smaller model of its kind is registered;"
    return TooBig(
        f"{card.id} needs {-(-required_bytes // MB)} MB of memory, its worker may keep {available_bytes // MB} MB; "
        f"{advice} {MORE_MEMORY}",
        required_bytes=required_bytes,
        available_bytes=available_bytes,
        smaller=smaller,
    )


def smaller_model(card: Card, available_bytes: int, registry: Registry | None) -> str | None:
    """The largest other local model that shares a task and fits, or else the card's own fallback."""
    fitting: list[tuple[int, str]] = []
    for other in registry.cards.values() if registry else ():
        if other.id == card.id or other.tier.rank > Tier.LOCAL.rank or not set(other.tasks) & set(card.tasks):
            continue
        needs = [found.bytes for variant in other.variants if (found := need(other, variant))]
        if other.queue and needs and min(needs) <= available_bytes:
            fitting.append((min(needs), other.id))
    return max(fitting)[1] if fitting else card.fallback


def _speaks_for(card: Card, variant: Variant | None) -> bool:
    """A card's own figure is that of its variant where it has only one."""
    return variant is None or len(card.variants) == 1


def _runs(variant: Variant) -> bool:
    return variant.runs_on is None or lacking(variant.runs_on) is None


def _order(variant: Variant) -> tuple[bool, int, float]:
    place = _LIGHT_FIRST.index(variant.runs_on) if variant.runs_on else len(_LIGHT_FIRST)
    return not _runs(variant), place, -(bits_of(variant) or 0.0)
