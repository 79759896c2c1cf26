"""Lets Donut's Swin encoder work in pieces: less memory, and a moment between pieces to stop; it changes no number.

Of a page of 2560 × 1920 pixels the first layers make 307,200 patches. Computed at once, their attention and their
feed-forward take gigabytes for a moment; both work on each window or patch alone, so they can take some at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

PATCHES = 6400  # at a time: what they need stays near the processor's cache, and takes a fraction of a second


class Pauses:
    """Asked between two pieces whether to go on: `check` may raise."""

    def __init__(self) -> None:
        self.check: Callable[[], None] = lambda: None


def work_in_pieces(encoder: Any, pauses: Pauses) -> None:
    """Changes a DonutSwinModel in place. It then takes one image at a time."""
    for stage in encoder.encoder.layers:
        for layer in stage.blocks:
            layer.attention = _Windows(layer.attention, pauses)
            layer.intermediate = _Patches(nn.Sequential(layer.intermediate, layer.output), pauses)
            layer.output = nn.Identity()


class _Windows(nn.Module):  # type: ignore[misc] # mypy does not read torch
    """Attention inside some windows at a time, written over what it was given: nobody else holds that. A mask has
    one row per window."""

    def __init__(self, attention: nn.Module, pauses: Pauses) -> None:
        super().__init__()
        self.attention = attention
        self.pauses = pauses

    def forward(self, windows: Tensor, mask: Tensor | None = None, output_attentions: bool | None = False) -> Any:
        step = max(1, PATCHES // windows.shape[1])
        for start in range(0, windows.shape[0], step):
            self.pauses.check()
            some = slice(start, start + step)
            part = None if mask is None else mask[some]
            windows[some] = self.attention(windows[some], part, output_attentions=False)[0]
        return (windows,)


class _Patches(nn.Module):  # type: ignore[misc] # as above
    """A feed-forward over some patches of (1, patches, channels) at a time, written over what it was given."""

    def __init__(self, feed: nn.Module, pauses: Pauses) -> None:
        super().__init__()
        self.feed = feed
        self.pauses = pauses

    def forward(self, patches: Tensor) -> Tensor:
        for start in range(0, patches.shape[1], PATCHES):
            self.pauses.check()
            some = slice(start, start + PATCHES)
            patches[:, some] = self.feed(patches[:, some])
        return patches
