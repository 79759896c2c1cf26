"""A tiny Donut as its hub repository lays it out: Swin encoder, MBart decoder, the true processor's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "what is the total of this invoice ? who signed the letter on Monday ? the amount due is 12.50 EUR , "
    "date of birth , name , street , city . yes no 0 1 2 3 4 5 6 7 8 9"
)
QUESTION_MARKS = ("<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>")
RECEIPT_MARKS = ("<s_cord-v2>", "<s_menu>", "</s_menu>", "<s_nm>", "</s_nm>", "<s_price>", "</s_price>")
POSITIONS = 128  # as the fine-tune on DocVQA has
HIDDEN = 64


def make_donut(folder: Path, marks: Sequence[str] = QUESTION_MARKS) -> None:
    """config.json, model.safetensors, tokenizer.json, preprocessor_config.json; images are seen at 640 × 480."""
    import torch  # noqa: PLC0415 - seconds that other models do not need
    from transformers import (  # noqa: PLC0415 - as above
        DonutSwinConfig,
        MBartConfig,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
    )

    tokenizer = _tokenizer(marks)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", _tokenizer_config())
    _write(folder / "preprocessor_config.json", _preparation())
    encoder = DonutSwinConfig(
        image_size=[640, 480], patch_size=4, embed_dim=HIDDEN // 8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8],
        window_size=10,
    )  # fmt: skip
    decoder = MBartConfig(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=HIDDEN,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=HIDDEN,
        max_position_embeddings=POSITIONS,
        is_decoder=True,
        add_cross_attention=True,
        is_encoder_decoder=False,
        scale_embedding=True,
        add_final_layer_norm=True,
        init_std=0.3,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.pad_token_id, config.decoder_start_token_id = 1, 2
    torch.manual_seed(9)
    VisionEncoderDecoderModel(config).save_pretrained(folder)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _preparation() -> dict[str, Any]:
    half = [0.5, 0.5, 0.5]
    return {
        "do_align_long_axis": False, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
        "do_thumbnail": True, "image_mean": half, "image_std": half, "image_processor_type": "DonutImageProcessor",
        "processor_class": "DonutProcessor", "resample": 2, "size": {"height": 640, "width": 480},
    }  # fmt: skip


def _tokenizer_config() -> dict[str, Any]:
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "sep_token": "</s>"}
    return {**named, "processor_class": "DonutProcessor", "tokenizer_class": "XLMRobertaTokenizer"}


def _tokenizer(marks: Sequence[str]) -> Any:
    """XLM-RoBERTa's kind, pieces with probabilities, and the marks that a fine-tune of Donut adds."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415 - as above

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(WORDS.split() * 3 + list(WORDS), trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in ("<sep/>", "<s_iitcdip>", *marks)])
    return tokenizer


MODELS: Mapping[str, Callable[[Path], None]] = {"donut": make_donut}
