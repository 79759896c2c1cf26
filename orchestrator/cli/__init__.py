"""The command `pennyroute`: thin drivers over flow and the embedded servers; no rule lives here."""

from __future__ import annotations


def main() -> None:
    """Entry of the console script; exits 1 for an error that is told in one line, 2 for wrong usage."""
    from orchestrator.cli.app import app  # noqa: PLC0415 - a part of this room must not load the whole command

    app(prog_name="pennyroute")
