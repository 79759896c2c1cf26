"""Loads a language model with transformers, from a folder and nothing else: no hub, no code of the model's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as told

from workers.generate.context import pool_tokens
from workers.generate.torch_model import MOST_ROWS, TorchModel
from workers.modality import Code, Machine, WorkerError
from workers.runtime.memory import available_bytes

Options = Mapping[str, str | int | float | bool]
T5_CONTEXT = 512  # T5's relative positions name no end; its encoder was trained on this much
UNLIMITED_FROM = 10**6  # a tokenizer that knows no longest text says 10^30
HALF = (torch.bfloat16, torch.float16)


def load_torch(folder: Path, options: Options, machine: Machine, most_context: int | None) -> TorchModel:
    """`options` are the variant's: n_ctx, threads. Raises WorkerError `invalid_config` for a model that needs code of
    its own or has no fast tokenizer; whatever transformers raises otherwise."""
    told.disable_progress_bar()  # a worker's log is no terminal
    torch.set_num_threads(int(options.get("threads", machine.threads)))
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise WorkerError(
            Code.INVALID_CONFIG, f"{folder.name} has no tokenizer.json; add the file of the model's repository"
        )
    dtype = best_dtype(config.dtype, machine.device, _weight_bytes(folder), available_bytes())
    model = kind.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=None if machine.allow_pickle else True,
    ).to(machine.device)
    context = min(
        _trained(config, tokenizer), most_context or UNLIMITED_FROM, int(options.get("n_ctx", UNLIMITED_FROM))
    )
    pool = pool_tokens(_cache_bytes(config, dtype), context, MOST_ROWS, available_bytes())
    ends = _ends(folder, tokenizer)
    return TorchModel(model.eval(), tokenizer, context_tokens=min(context, pool), pool=pool, ends=ends)


def best_dtype(stored: Any, device: str, weight_bytes: int, available: int | None) -> torch.dtype:
    """Weights kept in 16 bits stay there where the processor computes so, as bfloat16 on a CPU; elsewhere they are
    widened, which is faster, as long as twice their size fits into memory. Others are taken as they are kept."""
    kept = getattr(torch, stored) if isinstance(stored, str) else stored
    if kept not in HALF:
        return torch.float32
    if device != "cpu":
        return kept
    if _computes_bfloat16() or (available is not None and 2 * weight_bytes > available):
        return torch.bfloat16
    return torch.float32


def _computes_bfloat16() -> bool:
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _trained(config: Any, tokenizer: Any) -> int:
    """Tokens the model was trained to read."""
    if config.is_encoder_decoder:
        longest = int(tokenizer.model_max_length)
        return int(getattr(config, "n_positions", None) or (longest if longest < UNLIMITED_FROM else T5_CONTEXT))
    return int(config.max_position_embeddings)


def _cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Of each token in the cache: key and value of every layer."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def _ends(folder: Path, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, and those that generation_config.json adds (a list, often)."""
    told: Any = None
    if (folder / "generation_config.json").is_file():
        told = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    listed = told if isinstance(told, list) else [told]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)
