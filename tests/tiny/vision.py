"""A tiny CLIP as its hub repository lays it out: the true input and output sizes, two layers of 32 dimensions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CORPUS = "a photo of a cat, a dog, a red car, a green square; an invoice on a desk; two people under a tree by night"
START, END = "<|startoftext|>", "<|endoftext|>"
LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def make_clip(folder: Path, activation: str = "gelu") -> None:
    """config.json, model.safetensors, tokenizer.json, preprocessor_config.json. OpenCLIP's models use "gelu",
    OpenAI's "quick_gelu"."""
    import torch  # noqa: PLC0415 - seconds that other models do not need
    from transformers import CLIPConfig, CLIPModel  # noqa: PLC0415 - as above

    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    size: dict[str, Any] = {"size": 224, "crop_size": 224, "resample": 3, "image_mean": MEAN, "image_std": STD}
    _write(folder / "preprocessor_config.json", {"feature_extractor_type": "CLIPFeatureExtractor", **size})
    marks = {"bos_token_id": tokenizer.token_to_id(START), "eos_token_id": tokenizer.token_to_id(END)}
    text = {**LAYERS, **marks, "vocab_size": tokenizer.get_vocab_size(), "hidden_act": activation}
    torch.manual_seed(5)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config={**LAYERS, "hidden_act": activation}))
    for weights in model.parameters():
        if weights.ndim:  # a fresh model's biases are 0 and its norms 1: a graph that forgot them would not be seen
            torch.nn.init.normal_(weights, 0.0, 0.3)
    torch.nn.init.constant_(model.logit_scale, 4.6052)  # 100, where CLIP's training ends
    model.save_pretrained(folder)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _tokenizer() -> Any:
    """Byte pairs that know where a word ends, in lower case, as CLIP's own tokenizer is built."""
    from tokenizers import (  # noqa: PLC0415 - as above
        Regex,
        Tokenizer,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([CORPUS, " ".join(letters)], trainer)
    tokenizer.add_special_tokens([START, END])
    ids = {mark: tokenizer.token_to_id(mark) for mark in (START, END)}
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


MODELS: Mapping[str, Callable[[Path], None]] = {"openclip-vit-b-32": make_clip}
