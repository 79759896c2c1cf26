"""A picture as the numbers CLIP was trained on, as CLIPImageProcessor makes them; without torchvision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONGEST_SCALED = 16
"""Times the side. Of a longer strip the middle alone is scaled, which rounds some pixels differently by one step of
255: scaled whole, one of 40,000,000 × 8 pixels would take terabytes."""
Pixels = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lens:
    """The side of the square that is cut out (the short side is scaled to it first), and what each colour is
    centred and divided by."""

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def pixels(self, squares: Sequence[Image.Image]) -> Pixels:
        """What `square` gave, as (n, 3, side, side)."""
        seen = np.stack([np.asarray(square, dtype=np.float32) for square in squares])
        mean, std = np.array(self.mean, dtype=np.float32), np.array(self.std, dtype=np.float32)
        return np.ascontiguousarray(((seen / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))

    def square(self, image: Image.Image) -> Image.Image:
        """The middle of an RGB image with its short side scaled to `side`: all that the model sees of it."""
        width, height = image.size
        short = min(width, height)
        wide, high = self.side * width // short, self.side * height // short
        left, top = (wide - self.side) // 2, (high - self.side) // 2
        square = (left, top, left + self.side, top + self.side)
        if max(wide, high) <= LONGEST_SCALED * self.side:
            return image.resize((wide, high), Image.Resampling.BICUBIC).crop(square)
        across, down = width / wide, height / high
        box = (square[0] * across, square[1] * down, square[2] * across, square[3] * down)
        return image.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box)


def read_lens(folder: Path) -> Lens:
    """From preprocessor_config.json, whose sizes are a number in old files and named in newer ones. Raises ValueError
    for a preparation other than CLIP's."""
    config: dict[str, Any] = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    size, crop = config.get("size"), config.get("crop_size")
    short = size.get("shortest_edge") if isinstance(size, dict) else size
    side = crop.get("height") if isinstance(crop, dict) else crop
    if not isinstance(side, int) or short != side or config.get("resample", 3) != Image.Resampling.BICUBIC:
        raise ValueError(f"preprocessor_config.json asks for size {size}, crop_size {crop}; CLIP's are equal, bicubic")
    return Lens(side=side, mean=tuple(config["image_mean"]), std=tuple(config["image_std"]))
