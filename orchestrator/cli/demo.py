"""`pennyroute demo` (being built)."""

from __future__ import annotations


def demo_command() -> None:
    """See routing, cost and savings with recorded answers."""
