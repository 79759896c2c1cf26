"""An uploaded image as upright RGB pixels, or the reason why not; it reads no text and keeps no image."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from workers.modality import Code, Picture, WorkerError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MOST_PIXELS = 40_000_000  # an A4 page at 600 dpi is 35 million; decoded, this bound is 120 MB
_WIDE_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,  # a length field that was damaged: the pixels themselves are bounded
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on damaged data."""


def opened(picture: Picture, name: str, *, shortest_side: int = 1, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The image upright (EXIF is followed) in RGB, transparent parts white; of an animation the first frame.

    `name` is how a message calls it ("media[0]"), `shortest_side` the pixels each side needs at least. Raises
    WorkerError `invalid_input`: not an image we read, damaged, too large (before its pixels are decoded), too
    small, a TIFF of several pages.
    """
    with image_file(picture, name, formats=formats) as image:
        if (pages := page_count(image)) > 1:
            raise refused(f"{name} is a TIFF of {pages} pages; send each page as an image of its own")
        return upright(image, name, shortest_side=shortest_side)


@contextmanager
def image_file(
    picture: Picture, name: str, *, formats: tuple[str, ...] = FORMATS, known: tuple[str, ...] = ()
) -> Iterator[Image.Image]:
    """The image with its header read and no pixel decoded, open for the block; what Pillow raises inside the block
    over damaged data is raised as WorkerError `invalid_input`. `known`: what the message names as readable, where
    that is more than `formats`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # over harmless damage: metadata that nobody reads
            with Image.open(io.BytesIO(picture.data), formats=formats) as image:
                yield image
    except UnidentifiedImageError as error:
        what = f"{name} ({picture.content_type}, {len(picture.data)} bytes) is no image that can be read"
        raise refused(f"{what}; send one of {', '.join(known or formats)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refused(f"{name} is too large: {error}; scale it down") from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise refused(f"{name} is a damaged {picture.content_type}: {reason}; send it again whole") from error


def page_count(image: Image.Image, *, most: int = 100) -> int:
    """The pages of a TIFF, 1 for any other format: the frames of an animation are no pages.

    Stops counting at `most` + 1: a small file can claim millions of pages.
    """
    if image.format != "TIFF":
        return 1
    for number in range(1, most + 1):
        try:
            image.seek(number)
        except EOFError:
            image.seek(0)
            return number
    image.seek(0)
    return most + 1


def upright(image: Image.Image, name: str, *, shortest_side: int = 1) -> Image.Image:
    """The open image's pixels as `opened` describes them; its size is judged before they are decoded."""
    _refuse_size(image.size, name, shortest_side)
    image.load()
    turned = _eight_bit(ImageOps.exif_transpose(image))
    if "A" not in turned.getbands() and "transparency" not in turned.info:
        return turned.convert("RGB")
    layered = turned.convert("RGBA")
    paper = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(paper, layered).convert("RGB")


def refused(message: str) -> WorkerError:
    """`invalid_input` with this message."""
    return WorkerError(Code.INVALID_INPUT, message)


def _refuse_size(size: tuple[int, int], name: str, shortest_side: int) -> None:
    width, height = size
    if width * height > MOST_PIXELS:
        raise refused(f"{name} has {width}×{height} pixels, at most {MOST_PIXELS:,} are read; scale it down")
    if min(width, height) < shortest_side:
        raise refused(f"{name} has {width}×{height} pixels; each side needs at least {shortest_side}")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips wide grey values at 255, which makes a 16-bit scan white: they are scaled instead."""
    if image.mode not in _WIDE_MODES:
        return image
    pixels = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    scale = 1 / 257 if pixels.size and pixels.max() > 255 else 1.0
    return Image.fromarray(np.clip(pixels * scale, 0, 255).astype(np.uint8))
