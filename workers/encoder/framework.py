"""Runs an encoder on transformers and torch, for architectures no graph is written for; nothing is fetched, no
code of the model's own is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.encoder.architecture import Head
from workers.encoder.pooling import Floats, Ids, Pooling, pooled
from workers.modality import Machine


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchEngine:
    """`width`: numbers per text. `pooling` is None for a classifier."""

    model: Any
    width: int
    types: bool
    pooling: Pooling | None

    def run(self, ids: Ids, mask: Ids, types: Ids) -> Floats:
        """All int64 (rows, tokens), padded on the right; returns float32 (rows, width)."""
        import torch  # noqa: PLC0415 - 2 s and 300 MB that only this engine needs

        given = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self.types else {})
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(value).to(self.model.device) for name, value in given.items()}
            answer = self.model(**tensors)
        if self.pooling is None:
            return np.asarray(answer.logits.float().cpu().numpy())
        return pooled(answer.last_hidden_state.float().cpu().numpy(), mask, self.pooling)


def open_framework(folder: Path, head: Head, machine: Machine) -> TorchEngine:
    """Raises what transformers raises where the folder's architecture is unknown to it too."""
    import torch  # noqa: PLC0415 - as above
    import transformers  # noqa: PLC0415 - as above

    torch.set_num_threads(machine.threads)
    kind = transformers.AutoModelForSequenceClassification if head == "logits" else transformers.AutoModel
    model = kind.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=not machine.allow_pickle or None, dtype=torch.float32
    )
    model = model.to(machine.device).eval()
    pooling: Pooling | None = None if head == "logits" else "cls" if head == "cls" else "mean"
    return TorchEngine(
        model=model,
        width=int(model.config.num_labels if head == "logits" else model.config.hidden_size),
        types=getattr(model.config, "type_vocab_size", 0) > 1,
        pooling=pooling,
    )
