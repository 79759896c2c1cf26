"""Tokenizers of a few hundred tokens, trained in place, in the two families small language models use; no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = (
    "The capital of France is Paris. What is the weather in Berlin today? It rains, and it will rain tomorrow.",
    "Write a short answer with three words. Say yes or no. A cat sat on the mat and looked at the moon.",
    '{"title": "A day", "score": 7, "tags": ["one", "two"], "ok": true, "none": null, "price": 12.5}',
    "Größe, Straße, naïve café, Москва, 東京, emoji 😀 and numbers 0 1 2 3 4 5 6 7 8 9.",
    "def add(first: int, second: int) -> int:\n    return first + second\n",
    "system user assistant model Instruct: Output: \n\n",
)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace("{1,3}", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A tokenizer and what a model's files must say of it. `template` None: the model has none."""

    tokenizer: Tokenizer
    specials: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str
    template: str | None
    kind: str
    """llama-bpe, qwen2, gpt-2 (byte level) or spm (pieces with byte tokens)."""

    @property
    def size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        assert found is not None, token
        return int(found)

    @property
    def pieces(self) -> list[str]:
        """In the order of their ids."""
        by_id = {number: piece for piece, number in self.tokenizer.get_vocab().items()}
        return [by_id[number] for number in range(self.size)]

    @property
    def model(self) -> dict[str, Any]:
        """The `model` of its tokenizer.json: vocab and merges."""
        found: dict[str, Any] = json.loads(self.tokenizer.to_str())["model"]
        return found

    def save(self, folder: Path, longest: int) -> None:
        """tokenizer.json, tokenizer_config.json and special_tokens_map.json, as a hub repository has them."""
        self.tokenizer.save(str(folder / "tokenizer.json"))
        named = {"bos_token": self.bos, "eos_token": self.eos, "pad_token": self.pad}
        named = {name: token for name, token in named.items() if token}
        config = {**named, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest}
        config |= {"clean_up_tokenization_spaces": False}
        if self.template:
            config["chat_template"] = self.template
        (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1))
        (folder / "special_tokens_map.json").write_text(json.dumps(named))


def byte_level(
    kind: str, specials: tuple[str, ...], bos: str | None, eos: str, pad: str, template: str | None
) -> Words:
    """GPT-2's kind: every byte is a token, so that any text can be written, and half a character too."""
    split = {"llama-bpe": LLAMA3_SPLIT, "qwen2": QWEN2_SPLIT}.get(kind)
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    if split:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if bos:
        tokenizer.post_processor = _first(tokenizer, bos)
    return Words(tokenizer=tokenizer, specials=specials, bos=bos, eos=eos, pad=pad, template=template, kind=kind)


def pieces(specials: tuple[str, ...], bos: str, eos: str, pad: str, template: str | None) -> Words:
    """SentencePiece's kind: words with a ▁ before them, and byte tokens for what no piece covers."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    reserved = ["<unk>", bos, eos, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=reserved, show_progress=False, limit_alphabet=60, max_token_length=12
    )
    tokenizer.train_from_iterator([text.replace("\n", "") for text in CORPUS], trainer)
    # A trainer's special tokens are matched in texts; byte tokens must not be.
    raw = json.loads(tokenizer.to_str())
    raw["added_tokens"] = [each for each in raw["added_tokens"] if not each["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer.post_processor = _first(tokenizer, bos)
    return Words(tokenizer=tokenizer, specials=specials, bos=bos, eos=eos, pad=pad, template=template, kind="spm")


def unigram(specials: tuple[str, ...], eos: str, pad: str) -> Words:
    """T5's kind: pieces with probabilities, an end of sentence after every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(specials), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([text for text in CORPUS if "{" not in text], trainer)  # T5 knows no braces
    end = int(tokenizer.token_to_id(eos))
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {eos}", special_tokens=[(eos, end)])
    return Words(tokenizer=tokenizer, specials=specials, bos=None, eos=eos, pad=pad, template=None, kind="unigram")


def _first(tokenizer: Tokenizer, bos: str) -> Any:
    start = int(tokenizer.token_to_id(bos))
    return processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, start)])
