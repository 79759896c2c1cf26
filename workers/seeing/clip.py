"""CLIP as pictures and texts in, unit vectors out, on ONNX Runtime without torch; it compares nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from workers.encoder.tensors import Tensors, find_tensors
from workers.modality import Machine
from workers.seeing.pixels import Lens, read_lens
from workers.seeing.shapes import UnsupportedTower, read_shapes

KEPT_TEXTS = 4096  # labels and brand texts come again with every picture; 8 MB of vectors
END = "<|endoftext|>"
_NUMBERS = {"F32": "<f4", "F16": "<f2"}
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A loaded model. `scale` is what it multiplies a cosine with before a softmax, as it was trained."""

    images: onnxruntime.InferenceSession
    texts: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    lens: Lens
    scale: float
    dimensions: int
    kept: OrderedDict[str, Vectors] = field(default_factory=OrderedDict)

    def seen(self, squares: Sequence[Image.Image]) -> Vectors:
        """What `lens.square` gave, as unit vectors (n, dimensions), in one forward pass."""
        return self.images.run(["vectors"], {"pixels": self.lens.pixels(squares)})[0]  # type: ignore[no-any-return]

    def read(self, texts: Sequence[str]) -> Vectors:
        """Texts as unit vectors (n, dimensions); what is longer than the model reads is cut. Those that were read
        lately are remembered."""
        asked = list(dict.fromkeys(texts))
        if new := [text for text in asked if text not in self.kept]:
            self.kept.update(zip(new, self._read(new), strict=True))
        found = {text: self.kept[text] for text in asked}
        for text in asked:
            self.kept.move_to_end(text)
        while len(self.kept) > KEPT_TEXTS:
            self.kept.popitem(last=False)
        return np.stack([found[text] for text in texts])

    def _read(self, texts: list[str]) -> Vectors:
        encoded = [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]
        width = max(map(len, encoded))
        ids = np.zeros((len(texts), width), dtype=np.int64)  # a text tower looks back only: padding changes nothing
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
        ends = np.array([row * width + len(tokens) - 1 for row, tokens in enumerate(encoded)], dtype=np.int64)
        return self.texts.run(["vectors"], {"ids": ids, "ends": ends})[0]  # type: ignore[no-any-return]


def open_clip(folder: Path, machine: Machine) -> Clip:
    """The model in the files that Hugging Face's CLIPModel has. The weights are mapped where they lie: only what is
    used takes memory, and worker processes share it. Raises UnsupportedTower, UnreadableWeights."""
    from workers.seeing.towers import image_tower, text_tower  # noqa: PLC0415 - onnx is needed while loading only

    tensors = find_tensors(folder)
    image_shape, text_shape = read_shapes(folder)
    lens = read_lens(folder)
    if lens.side != image_shape.side:
        raise UnsupportedTower(f"preprocessor_config.json cuts {lens.side} pixels, the model sees {image_shape.side}")
    images = _session(image_tower(image_shape, tensors), tensors, machine)
    return Clip(
        images=images,
        texts=_session(text_tower(text_shape, tensors), tensors, machine),
        tokenizer=_tokenizer(folder, text_shape.places),
        lens=lens,
        scale=_scale(tensors),
        dimensions=images.get_outputs()[0].shape[1],
    )


def _tokenizer(folder: Path, places: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(places)
    if tokenizer.encode("a photo").tokens[-1] != END:
        raise UnsupportedTower(f"tokenizer.json does not end a text with {END}, where the model reads its meaning")
    return tokenizer


def _session(model: Any, tensors: Tensors, machine: Machine) -> onnxruntime.InferenceSession:
    folders = {str(tensor.file.parent) for tensor in tensors.values()}
    if len(folders) != 1:
        raise UnsupportedTower(f"the weights lie in {len(folders)} folders; put them into one")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for ever
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folders.pop())
    there = onnxruntime.get_available_providers()
    cuda = ["CUDAExecutionProvider"] if machine.device == "cuda" and "CUDAExecutionProvider" in there else []
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[*cuda, "CPUExecutionProvider"])


def _scale(tensors: Tensors) -> float:
    """`logit_scale` is kept as a logarithm."""
    found = tensors.get("logit_scale")
    if found is None or found.kind not in _NUMBERS:
        raise UnsupportedTower("the weights have no readable tensor 'logit_scale'; they are not a CLIPModel's")
    return float(np.exp(np.fromfile(found.file, dtype=_NUMBERS[found.kind], count=1, offset=found.offset)[0]))
