"""A tiny transformers model as a GGUF file, tensor by tensor, in 32-bit floats; it converts no other model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

from tests.tiny._tokens import Words

LAYER = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
}
GEMMA2_LAYER = LAYER | {
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "pre_feedforward_layernorm.weight": "ffn_norm.weight",
    "post_feedforward_layernorm.weight": "post_ffw_norm.weight",
}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def write_gguf(path: Path, model: Any, words: Words) -> None:
    """`model` is a LlamaForCausalLM, Qwen2ForCausalLM or Gemma2ForCausalLM of transformers."""
    config, name = model.config, model.config.model_type
    writer = GGUFWriter(str(path), name)
    writer.add_name(f"tiny {name}")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(0)
    if name == "gemma2":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    _add_tokens(writer, words)
    for tensor, values in _tensors(model):
        writer.add_tensor(tensor, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> list[tuple[str, NDArray[np.float32]]]:
    config = model.config
    layer = GEMMA2_LAYER if config.model_type == "gemma2" else LAYER
    found = []
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied to the embedding
        values = tensor.float().numpy()
        if config.model_type == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            values = _interleaved(values, heads)
        if config.model_type == "gemma2" and name.endswith("norm.weight"):
            values = values + 1.0  # gemma keeps its norms' scales less one
        if name in WHOLE:
            found.append((WHOLE[name], values))
        else:
            _, _, number, rest = name.split(".", 3)
            found.append((f"blk.{number}.{layer[rest]}", values))
    return found


def _interleaved(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """llama.cpp turns pairs of neighbouring rows where transformers turns the halves of a head."""
    shape = values.shape
    return values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def _add_tokens(writer: GGUFWriter, words: Words) -> None:
    spm = words.kind == "spm"
    writer.add_tokenizer_model("llama" if spm else "gpt2")
    if not spm:
        writer.add_tokenizer_pre(words.kind)
        writer.add_token_merges([" ".join(pair) for pair in words.model["merges"]])
    else:
        writer.add_token_scores(_scores(words))
        writer.add_add_space_prefix(False)  # as Gemma 2 has it
    writer.add_token_list(words.pieces)
    writer.add_token_types([_type(piece, words) for piece in words.pieces])
    if words.bos:
        writer.add_bos_token_id(words.id(words.bos))
    writer.add_eos_token_id(words.id(words.eos))
    writer.add_pad_token_id(words.id(words.pad))
    writer.add_add_bos_token(words.bos is not None)
    writer.add_add_eos_token(False)
    if words.template:
        writer.add_chat_template(words.template)


def _type(piece: str, words: Words) -> int:
    if piece == "<unk>":
        return TokenType.UNKNOWN
    if piece in words.specials or piece in (words.bos, words.eos, words.pad):
        return TokenType.CONTROL
    if words.kind == "spm" and piece.startswith("<0x"):
        return TokenType.BYTE
    return TokenType.NORMAL


def _scores(words: Words) -> list[float]:
    """Pieces merge in the order in which they were learned: the earlier a merge, the higher its score."""
    rank = {"".join(pair): number for number, pair in enumerate(words.model["merges"])}
    return [-float(rank.get(piece, 10_000)) for piece in words.pieces]
