"""JSON schema → constrained decoding: what a model writes always parses, fits the schema and ends in time.

It imports neither orchestrator nor a modality; a modality that generates text calls `compile_schema`."""

from workers.constrain.constraint import Constraint, compile_schema

__all__ = ["Constraint", "compile_schema"]
