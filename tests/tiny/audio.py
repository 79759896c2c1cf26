"""A tiny Whisper in CTranslate2's format: the true vocabulary's size and marks, two layers of 16 dimensions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

WORDS = 50_257  # then come the marks, in the order of the true tokenizer, then 1,501 moments of 20 ms
VOCABULARY = 51_865  # CTranslate2 tells a multilingual model by this size
LANGUAGES = 99
SYLLABLES = ("ka", "lo", "mi", "ne", "ru", "sa", "te", "vo", "pu", "di", "fe", "gy", "ha", "jo", "wi", "ze")


def make_faster_whisper_base(folder: Path) -> None:
    """model.bin (int8), config.json, tokenizer.json, vocabulary.txt as Systran/faster-whisper-base lays them out."""
    from ctranslate2.converters import TransformersConverter  # noqa: PLC0415 - seconds that other models do not need

    with TemporaryDirectory() as whole:
        _write_transformers(Path(whole))
        converter = TransformersConverter(whole, copy_files=["tokenizer.json"])
        converter.convert(str(folder), quantization="int8", force=True)
    tokens = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    (folder / "vocabulary.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    (folder / "vocabulary.json").unlink()


def _write_transformers(folder: Path) -> None:
    import torch  # noqa: PLC0415 - as above
    from transformers import (  # noqa: PLC0415 - as above
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(3)
    marks = _marks()
    ids = {mark: WORDS + number for number, mark in enumerate(marks)}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=VOCABULARY,
            d_model=16,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            bos_token_id=ids["<|endoftext|>"],
            eos_token_id=ids["<|endoftext|>"],
            pad_token_id=ids["<|endoftext|>"],
            decoder_start_token_id=ids["<|startoftranscript|>"],
            init_std=0.3,
        )
    )
    generation = GenerationConfig(eos_token_id=ids["<|endoftext|>"], decoder_start_token_id=WORDS + 1)
    generation.suppress_tokens = [1, 2]
    generation.begin_suppress_tokens = [220, WORDS]
    generation.alignment_heads = [[1, 0], [1, 1]]
    generation.lang_to_id = {mark: number for mark, number in ids.items() if len(mark) in (6, 7)}
    generation._from_model_config = False
    model.generation_config = generation
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(marks), eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    ).save_pretrained(folder)


def _marks() -> list[str]:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as KNOWN  # noqa: PLC0415 - as above

    languages = [f"<|{code}|>" for code in list(KNOWN)[:LANGUAGES]]
    tasks = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    return ["<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{task}|>" for task in tasks)]


def _tokenizer(marks: list[str]):  # type: ignore[no-untyped-def]  # tokenizers ships no types
    """Bytes, made-up words of syllables instead of learned merges, and the empty token that the true one has."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - as above

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = ("Ġ" + "".join(parts) for parts in itertools.product(SYLLABLES, repeat=4))
    words = [*letters, *itertools.islice(made, WORDS - len(letters) - 1), ""]
    tokenizer = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return tokenizer


MODELS: Mapping[str, Callable[[Path], None]] = {"faster-whisper-base": make_faster_whisper_base}
