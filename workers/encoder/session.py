"""Runs an encoder on ONNX Runtime: from a graph written here or from an exported file; it reads no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnxruntime

from workers.encoder.architecture import Architecture, Head, UnsupportedModel
from workers.encoder.pooling import Floats, Ids, Pooling, pooled
from workers.encoder.tensors import Tensors
from workers.modality import Machine

_FOLDER_OF_WEIGHTS = "session.model_external_initializers_file_folder_path"
_EXPORTED_VECTORS = ("sentence_embedding", "vectors", "dense_vecs")


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxEngine:
    """`width`: numbers per text. `pooling` is set where the session returns the states of tokens."""

    session: onnxruntime.InferenceSession
    output: str
    width: int
    pooling: Pooling | None = None

    def run(self, ids: Ids, mask: Ids, types: Ids) -> Floats:
        """All int64 (rows, tokens), padded on the right; returns float32 (rows, width)."""
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        feed = {each.name: given[each.name] for each in self.session.get_inputs()}
        found = cast(Floats, self.session.run([self.output], feed)[0])
        return pooled(found, mask, self.pooling) if self.pooling else found


def open_written(shape: Architecture, tensors: Tensors, head: Head, machine: Machine) -> OnnxEngine:
    """The graph is written anew in some milliseconds; the weights are mapped from their file, where only what is
    used takes memory and worker processes share it. Raises UnsupportedModel."""
    from workers.encoder.write import write_graph  # noqa: PLC0415 - onnx is needed while loading only

    graph = write_graph(shape, tensors, head)
    folders = {tensor.file.parent for tensor in tensors.values()}
    if len(folders) != 1:
        raise UnsupportedModel(f"the weights lie in {len(folders)} folders; put them into one")
    options = _options(machine)
    options.add_session_config_entry(_FOLDER_OF_WEIGHTS, str(folders.pop()))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=_providers(machine))
    output = session.get_outputs()[0]
    return OnnxEngine(session=session, output=output.name, width=output.shape[1])


def open_exported(file: Path, head: Head, machine: Machine) -> OnnxEngine:
    """A model somebody exported, as hubs carry it in onnx/model.onnx: its vectors or logits if it has them, else its
    states, pooled here. Raises UnsupportedModel."""
    session = onnxruntime.InferenceSession(str(file), _options(machine), providers=_providers(machine))
    unknown = {each.name for each in session.get_inputs()} - {"input_ids", "attention_mask", "token_type_ids"}
    if unknown:
        raise UnsupportedModel(f"{file} asks for {', '.join(sorted(unknown))}, which a text does not have")
    outputs = {each.name: each.shape for each in session.get_outputs()}
    wanted = ("logits",) if head == "logits" else _EXPORTED_VECTORS
    for name in wanted:
        if len(outputs.get(name, ())) == 2:
            return OnnxEngine(session=session, output=name, width=_width(file, outputs[name]))
    states = next((name for name, sizes in outputs.items() if len(sizes) == 3), None)
    if head == "logits" or states is None:
        raise UnsupportedModel(f"{file} gives {', '.join(outputs)}; wanted is {' or '.join(wanted)}")
    pooling: Pooling = "cls" if head == "cls" else "mean"
    return OnnxEngine(session=session, output=states, width=_width(file, outputs[states]), pooling=pooling)


def _width(file: Path, sizes: Sequence[Any]) -> int:
    if not isinstance(sizes[-1], int):
        raise UnsupportedModel(f"{file} does not say how wide its output is; export it with a fixed width")
    return sizes[-1]


def _providers(machine: Machine) -> list[str]:
    there = onnxruntime.get_available_providers()
    cuda = ["CUDAExecutionProvider"] if machine.device == "cuda" and "CUDAExecutionProvider" in there else []
    return [*cuda, "CPUExecutionProvider"]


def _options(machine: Machine) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the largest batch's memory for ever; no slower without
    return options
