"""How long to wait before a program is started again, and when to give up; a pure rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """Delays double from `first_delay_s` to `longest_delay_s`, each ±50%, so that programs do not keep step.

    A program that ran for `healthy_after_s` begins anew. One that was never ready is given up after
    `start_failures` deaths within `start_window_s`; one that once was ready is restarted for ever.
    """

    first_delay_s: float = 0.2
    longest_delay_s: float = 30.0
    healthy_after_s: float = 30.0
    start_failures: int = 5
    start_window_s: float = 60.0

    def delay_s(self, failures: int, dice: float) -> float:
        """Wait before the next start after `failures` (≥ 1) deaths in a row; `dice` is in [0, 1)."""
        doubled = self.first_delay_s * 2.0 ** min(failures - 1, 30)
        return min(doubled, self.longest_delay_s) * (0.5 + dice)
