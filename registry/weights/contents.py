"""Which files make up a variant, by its format, where its card does not name them; it opens no file.

Never taken: pickles (unless allowed), programs, and what other frameworks would need.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from registry.schema import Variant
from registry.weights.errors import HubRefused, UnsafeWeights
from registry.weights.folders import safe_name
from registry.weights.formats import refused_pickle

# Beside the weights: configuration, tokenizer, chat template.
_BESIDE = (".json", ".txt", ".model", ".jinja", ".spm", ".tiktoken")
_NOT_BESIDE = re.compile(r"(^|/)(training_args|trainer_state|all_results|eval_results|train_results)\.json$")
# Folders of other frameworks' weights, and of the training.
_FOREIGN = ("onnx", "openvino", "coreml", "original", "tf", "flax", "runs", "logs", "assets", "imgs", "images")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.(safetensors|bin|gguf)$")
_PART = re.compile(r"(.+)-\d{5}-of-(\d{5})(\.\w+)")
_PADDLE = (".pdiparams", ".onnx", ".pdmodel", ".json", ".yml", ".yaml", ".txt")


def wanted(variant: Variant, names: Collection[str], *, allow_pickle: bool = False) -> tuple[str, ...]:
    """Of a repository's or a folder's files those that this variant needs, in order.

    Raises HubRefused where they are not among `names`, UnsafeWeights where only a pickle is.
    """
    if variant.files is not None:
        absent = [name for name in variant.files if name not in names]
        if absent:
            raise HubRefused(f"{', '.join(absent)} of variant {variant.name} is not there; {_told(names)}")
        return variant.files
    weights = _weights(variant, names, allow_pickle=allow_pickle)
    if not weights:
        raise HubRefused(f"no {variant.format} weights of variant {variant.name} are there; {_told(names)}")
    if absent := _missing_parts(weights):
        raise HubRefused(f"variant {variant.name} has parts, and {', '.join(absent)} is not there; {_told(names)}")
    beside = [] if variant.format in ("gguf", "paddle") else [name for name in names if _is_beside(name)]
    return tuple(safe_name(name) for name in sorted({*weights, *beside}))


def is_whole(variant: Variant, names: Collection[str]) -> bool:
    """Whether a folder with these files holds this variant. A pickle counts: that it is one is told when it is read."""
    if variant.files is not None:
        return all(name in names for name in variant.files)
    found = _weights(variant, names, allow_pickle=True)
    return bool(found) and not _missing_parts(found)


def _missing_parts(names: Collection[str]) -> list[str]:
    """Of weights that come in numbered parts those that are not among `names`."""
    numbered = [part for name in names if (part := _PART.fullmatch(name))]
    every = {f"{part[1]}-{n:05}-of-{part[2]}{part[3]}" for part in numbered for n in range(1, int(part[2]) + 1)}
    return sorted(every - set(names))


def _weights(variant: Variant, names: Iterable[str], *, allow_pickle: bool) -> list[str]:
    ours = [name for name in names if PurePosixPath(name).parts[0] not in _FOREIGN]
    if variant.format == "gguf":
        return _gguf(variant, ours)
    if variant.format == "ctranslate2":
        return ["model.bin"] if "model.bin" in ours else []
    if variant.format == "onnx":
        return [name for name in names if name.endswith((".onnx", ".onnx_data"))]
    if variant.format == "paddle":
        found = [name for name in ours if name.endswith(_PADDLE)]
        return found if any(name.endswith((".pdiparams", ".onnx")) for name in found) else []
    if variant.format == "safetensors":
        return _safetensors(ours) or _pickles(variant, ours, allow_pickle=allow_pickle)
    return []


def _safetensors(names: Collection[str]) -> list[str]:
    """model.safetensors, or its shards, or whatever has that ending at the top; never a second copy beside it."""
    top = [name for name in names if name.endswith(".safetensors") and "/" not in name]
    if "model.safetensors" in top:
        return ["model.safetensors"]
    shards = [name for name in top if _SHARD.search(name) and name.startswith("model-")]
    return shards or [name for name in top if not name.startswith(("adapter_", "open_clip_"))]


def _pickles(variant: Variant, names: Collection[str], *, allow_pickle: bool) -> list[str]:
    found = [name for name in names if re.fullmatch(r"pytorch_model(-\d{5}-of-\d{5})?\.bin", name)]
    if found and not allow_pickle:
        raise UnsafeWeights(refused_pickle(f"variant {variant.name} has {', '.join(sorted(found))} only, which"))
    return found


def _gguf(variant: Variant, names: Collection[str]) -> list[str]:
    """The file or the parts whose name ends with the quantisation; or the only one there is."""
    every = [name for name in names if name.endswith(".gguf") and "mmproj" not in name.lower()]
    quantised = re.compile(rf"(^|[-._/]){re.escape(variant.name)}(-\d{{5}}-of-\d{{5}})?\.gguf$", re.IGNORECASE)
    found = [name for name in every if quantised.search(name)]
    return found or (every if len(every) == 1 and not _names_another(every[0]) else [])


def _names_another(name: str) -> bool:
    """Whether a file's name says a quantisation: then it is not simply `the` file."""
    return re.search(r"[-._](i?q\d\w*|b?f16|f32|fp16)(-\d{5}-of-\d{5})?\.gguf$", name, re.IGNORECASE) is not None


def _is_beside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if parts[0] in _FOREIGN or len(parts) > 2 or _NOT_BESIDE.search(name):
        return False
    return name.endswith(_BESIDE) and not any(part.startswith(".") for part in parts)


def _told(names: Collection[str]) -> str:
    shown = sorted(names)[:8]
    return f"found {', '.join(shown) or 'nothing'}{' and more' if len(names) > len(shown) else ''}"
