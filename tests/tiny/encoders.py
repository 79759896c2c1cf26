"""Tiny encoders: BERT, XLM-RoBERTa, GTE, DistilBERT, RoBERTa, mDeBERTa, with the tokenizers and files of their hubs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = (
    "The kitten sleeps on the mat while the rain falls on the old town.",
    "Quarterly revenue grew by twelve percent, driven by cloud services in Europe.",
    "What is the capital of Germany? Berlin is the capital of Germany.",
    "I love this film; the ending was a wonderful surprise! I hate waiting.",
    "This text is about sports, politics, science, music and business.",
    "naïve café, ünïcödé, Straße, 東京, привет мир, 12345",
)
SPREAD = 0.2  # of random weights: wide enough that another text gives clearly other numbers


def minilm(folder: Path) -> None:
    """all-MiniLM-L6-v2: BERT, mean pooling."""
    _sentence_model(folder, _bert(max_position_embeddings=512), word_pieces(folder), "mean", 256)


def bge_small(folder: Path) -> None:
    """bge-small-en-v1.5: BERT, the first token's state."""
    _sentence_model(folder, _bert(max_position_embeddings=512), word_pieces(folder), "cls", 512)


def e5_small(folder: Path) -> None:
    """multilingual-e5-small: BERT with XLM-RoBERTa's tokenizer."""
    _sentence_model(folder, _bert(max_position_embeddings=512, pad_token_id=0), unigram(), "mean", 512)


def bge_m3(folder: Path) -> None:
    """bge-m3: XLM-RoBERTa of 1,024 dimensions."""
    config = transformers.XLMRobertaConfig(
        **_shape(1024, 16), type_vocab_size=1, max_position_embeddings=1026, layer_norm_eps=1e-5, pad_token_id=1
    )
    _sentence_model(folder, transformers.XLMRobertaModel(config, add_pooling_layer=False), unigram(), "cls", 8192)


def gte(folder: Path) -> None:
    """gte-multilingual-base: rotary positions with NTK scaling, gated layers, in the files of Alibaba-NLP/new-impl."""
    model = transformers.GteModel(gte_config())
    _sentence_model(folder, model, unigram(), "cls", 8192)
    config = {
        **{"model_type": "new", "architectures": ["NewModel"], "position_embedding_type": "rope", "pack_qkv": True},
        **{"rope_theta": 20000, "rope_scaling": {"factor": 8.0, "type": "ntk"}, "layer_norm_type": "layer_norm"},
        **{"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2, "intermediate_size": 64},
        **{"hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 8192, "type_vocab_size": 1},
        **{"vocab_size": VOCABULARY, "pad_token_id": 1, "use_memory_efficient_attention": False},
    }
    (folder / "config.json").write_text(json.dumps(config))


def gte_config() -> Any:
    """transformers' own GTE with the angles that the original's scaling gives."""
    rope = {"rope_type": "linear", "rope_theta": 20000 * 8.0, "factor": 8.0 ** (2 / 64)}
    return transformers.GteConfig(**_shape(768, 12), rope_parameters=rope, max_position_embeddings=8192)


def ms_marco(folder: Path) -> None:
    """ms-marco-MiniLM-L-12-v2: a BERT cross-encoder of one logit."""
    config = transformers.BertConfig(**_shape(384, 12), num_labels=1, max_position_embeddings=512)
    _classifier(folder, transformers.BertForSequenceClassification(config), word_pieces(folder))


def sst2(folder: Path) -> None:
    """distilbert-base-uncased-finetuned-sst-2-english; its hub has no tokenizer.json."""
    config = transformers.DistilBertConfig(
        **{"vocab_size": VOCABULARY, "dim": 768, "n_layers": 2, "n_heads": 12, "hidden_dim": 64},
        **_named("NEGATIVE", "POSITIVE"),
    )
    _classifier(folder, transformers.DistilBertForSequenceClassification(config), word_pieces(folder))
    (folder / "tokenizer.json").unlink()


def toxicity(folder: Path) -> None:
    """s-nlp/roberta_toxicity_classifier; vocab.json and merges.txt, no tokenizer.json."""
    config = transformers.RobertaConfig(
        **_shape(768, 12), type_vocab_size=1, max_position_embeddings=514, layer_norm_eps=1e-5, pad_token_id=1,
        **_named("neutral", "toxic"),
    )  # fmt: skip
    _classifier(folder, transformers.RobertaForSequenceClassification(config), byte_pairs(folder))
    (folder / "tokenizer.json").unlink()


def mdeberta(folder: Path) -> None:
    """mDeBERTa-v3-base-mnli-xnli: disentangled attention with 256 buckets."""
    config = transformers.DebertaV2Config(
        **_shape(768, 12), type_vocab_size=0, max_position_embeddings=512, relative_attention=True,
        position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, pos_att_type=["p2c", "c2p"],
        position_biased_input=False, max_relative_positions=-1, pooler_hidden_act="gelu", pooler_hidden_size=768,
        **_named("entailment", "neutral", "contradiction"),
    )  # fmt: skip
    _classifier(folder, transformers.DebertaV2ForSequenceClassification(config), unigram(deberta=True))


MODELS: Mapping[str, Callable[[Path], None]] = {
    "all-minilm-l6-v2": minilm,
    "bge-small-en-v1.5": bge_small,
    "multilingual-e5-small": e5_small,
    "bge-m3": bge_m3,
    "gte-multilingual-base": gte,
    "ms-marco-minilm-l12-v2": ms_marco,
    "distilbert-sst2": sst2,
    "roberta-toxicity": toxicity,
    "mdeberta-mnli-xnli": mdeberta,
}

VOCABULARY = 420  # rows of the word table; the tokenizers learn fewer


def _shape(hidden: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
    }


def _named(*labels: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: n for n, label in enumerate(labels)}}


def _bert(**more: Any) -> Any:
    return transformers.BertModel(transformers.BertConfig(**_shape(384, 12), **more), add_pooling_layer=False)


def _widened(model: Any) -> Any:
    """The same random weights each time, biases too: a zero bias would hide that it is forgotten."""
    made = torch.Generator().manual_seed(20261120)
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() == 1:
                tensor.add_(torch.randn(tensor.shape, generator=made) * SPREAD)
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=made) * min(SPREAD, 2.0 * tensor.shape[-1] ** -0.5))
    return model.eval()


def _classifier(folder: Path, model: Any, tokenizer: Tokenizer) -> None:
    _widened(model).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def _sentence_model(folder: Path, model: Any, tokenizer: Tokenizer, pooling: str, longest: int) -> None:
    """With the files from which sentence-transformers knows how to pool."""
    _classifier(folder, model, tokenizer)
    kinds = ("transformers.models.Transformer", "transformers.models.Pooling", "transformers.models.Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_{kind}"}
        for number, (path, kind) in enumerate(zip(("", "1_Pooling", "2_Normalize"), kinds, strict=True))
    ]
    pool = {
        "word_embedding_dimension": model.config.hidden_size,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
    }
    padding = "<pad>" if tokenizer.token_to_id("[PAD]") is None else "[PAD]"
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": padding}
    for name, content in (
        ("modules.json", modules),
        ("sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False}),
        ("1_Pooling/config.json", pool),
        ("tokenizer_config.json", tokens),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def word_pieces(folder: Path) -> Tokenizer:
    """BERT's, with its vocab.txt."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=marks, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    words = sorted(tokenizer.get_vocab().items(), key=lambda word: word[1])
    (folder / "vocab.txt").write_text("".join(word + "\n" for word, _ in words), encoding="utf-8")
    return tokenizer


def byte_pairs(folder: Path) -> Tokenizer:
    """RoBERTa's, with its vocab.json and merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=marks, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.model.save(str(folder))
    return tokenizer


def unigram(*, deberta: bool = False) -> Tokenizer:
    """XLM-RoBERTa's (two separators in a pair), or mDeBERTa's with BERT's marks."""
    first, last, pad, unknown = ("[CLS]", "[SEP]", "[PAD]", "[UNK]") if deberta else ("<s>", "</s>", "<pad>", "<unk>")
    marks = [pad, first, last, unknown] if deberta else [first, pad, last, unknown]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=marks, unk_token=unknown, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    pair = f"{first} $A {last} $B:1 {last}:1" if deberta else f"{first} $A {last} {last} $B {last}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=pair, special_tokens=[(each, marks.index(each)) for each in (first, last)]
    )
    return tokenizer
