"""Starts Infinity in its own environment with a fixed number of threads, and writes the ONNX file it needs; no peer of
anything: `local_infinity.py export FOLDER` or `local_infinity.py serve THREADS ARGUMENTS…`, in that environment.

Its ONNX engine has no setting for threads: it would take every core where the others have one.
"""

from __future__ import annotations

import sys
from typing import Any


def export(folder: str) -> None:
    """model.onnx in fp32 beside the weights, as the hub's repositories carry it."""
    from optimum.exporters.onnx import main_export  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

    main_export(
        folder, output=folder, task="feature-extraction", library_name="transformers", device="cpu", dtype="fp32"
    )


def serve(threads: int, arguments: list[str]) -> None:
    import onnxruntime  # noqa: PLC0415

    whole = onnxruntime.InferenceSession

    class Bounded(whole):  # type: ignore[misc,valid-type,unused-ignore]
        def __init__(self, model: Any, sess_options: Any = None, **more: Any) -> None:
            options = sess_options or onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            super().__init__(model, options, **more)

    onnxruntime.InferenceSession = Bounded
    from infinity_emb.cli import cli  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415

    sys.argv = ["infinity_emb", *arguments]
    cli()


if sys.argv[1] == "export":
    export(sys.argv[2])
else:
    serve(int(sys.argv[2]), sys.argv[3:])
