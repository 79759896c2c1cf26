"""Tiny language models: Llama, Qwen2, Gemma 2, Phi and T5, as safetensors and as GGUF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.tiny._gguf import write_gguf
from tests.tiny._tokens import Words, byte_level, pieces, unigram

LLAMA3_TEMPLATE = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
CHATML_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
ZEPHYR_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
    "{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SHAPE: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,  # so that random weights prefer some tokens, and the engines agree which
}


def llama3_words() -> Words:
    specials = (
        *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        *("<|eot_id|>", "<|finetune_right_pad_id|>"),
    )
    return byte_level(
        "llama-bpe", specials, "<|begin_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>", LLAMA3_TEMPLATE
    )


def qwen_words() -> Words:
    specials = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    return byte_level("qwen2", specials, None, "<|im_end|>", "<|endoftext|>", CHATML_TEMPLATE)


def gemma_words() -> Words:
    specials = ("<pad>", "<start_of_turn>", "<end_of_turn>")
    return pieces(specials, "<bos>", "<eos>", "<pad>", GEMMA_TEMPLATE)


def llama(words: Words, context: int = 2048) -> Any:
    """A LlamaForCausalLM with the embedding tied to the output, as Llama 3.2 has it."""
    return _model(transformers.LlamaForCausalLM, transformers.LlamaConfig, words, context, rope_theta=500_000.0)


def save_llama(folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    words = llama3_words()
    _save(folder, llama(words).to(dtype), words)


def save_llama_gguf(path: Path) -> None:
    words = llama3_words()
    write_gguf(path, llama(words), words)


def _qwen(folder: Path) -> None:
    words = qwen_words()
    model = _model(transformers.Qwen2ForCausalLM, transformers.Qwen2Config, words, 2048, rope_theta=1e6)
    write_gguf(folder / "qwen2.5-1.5b-instruct-q4_k_m.gguf", model, words)


def _gemma(folder: Path) -> None:
    words = gemma_words()
    model = _model(
        transformers.Gemma2ForCausalLM,
        transformers.Gemma2Config,
        words,
        2048,
        head_dim=16,
        sliding_window=128,
        attn_implementation="eager",
    )
    write_gguf(folder / "gemma-2-2b-it-Q4_K_M.gguf", model, words)


def _tinyllama(folder: Path) -> None:
    words = pieces((), "<s>", "</s>", "</s>", ZEPHYR_TEMPLATE)
    model = _model(transformers.LlamaForCausalLM, transformers.LlamaConfig, words, 2048, tied=False)
    _save(folder, model.to(torch.bfloat16), words)


def _phi(folder: Path) -> None:
    words = byte_level("gpt-2", ("<|endoftext|>",), None, "<|endoftext|>", "<|endoftext|>", None)
    shape = {**SHAPE, "num_key_value_heads": 4, "partial_rotary_factor": 0.5}
    config = transformers.PhiConfig(
        **shape,
        vocab_size=words.size,
        max_position_embeddings=2048,
        eos_token_id=words.id(words.eos),
        bos_token_id=None,
    )
    _save(folder, _seeded(transformers.PhiForCausalLM, config).to(torch.float16), words)


def _t5(folder: Path) -> None:
    words = unigram(("<pad>", "</s>", "<unk>"), "</s>", "<pad>")
    config = transformers.T5Config(
        vocab_size=words.size,
        d_model=64,
        d_kv=16,
        d_ff=96,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        n_positions=512,
        initializer_factor=0.2,  # at 1 a random T5 repeats one token for ever
        decoder_start_token_id=words.id("<pad>"),
        pad_token_id=words.id("<pad>"),
        eos_token_id=words.id("</s>"),
    )
    _save(folder, _seeded(transformers.T5ForConditionalGeneration, config), words)


def _model(kind: Any, config: Any, words: Words, context: int, *, tied: bool = True, **more: Any) -> Any:
    theta = more.pop("rope_theta", 10_000.0)
    made = config(
        **SHAPE,
        vocab_size=words.size,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=tied,
        bos_token_id=words.id(words.bos) if words.bos else None,
        eos_token_id=words.id(words.eos),
        pad_token_id=words.id(words.pad),
        **more,
    )
    return _seeded(kind, made)


def _seeded(kind: Any, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return kind(config).eval()


def _save(folder: Path, model: Any, words: Words) -> None:
    model.save_pretrained(folder)
    words.save(folder, 2048)
    generation = folder / "generation_config.json"
    if not generation.exists():
        generation.write_text(json.dumps({"eos_token_id": words.id(words.eos)}))


MODELS: Mapping[str, Callable[[Path], None]] = {
    "llama-3.2-1b-instruct": save_llama,
    "llama-3.2-3b-instruct": lambda folder: save_llama_gguf(folder / "Llama-3.2-3B-Instruct-Q4_K_M.gguf"),
    "qwen2.5-1.5b-instruct": _qwen,
    "gemma-2-2b-it": _gemma,
    "tinyllama-1.1b-chat": _tinyllama,
    "phi-2": _phi,
    "lamini-flan-t5-783m": _t5,
}
