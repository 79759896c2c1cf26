"""Uploaded images become upright RGB, or a reason why not; no image breaks the reader."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.workers.scans import encoded
from workers.images import opened
from workers.modality import Code, Picture, WorkerError


def picture(data: bytes, content_type: str = "image/png") -> Picture:
    return Picture(content_type=content_type, data=data)


def gradient() -> Image.Image:
    """30 × 20, darker at the left."""
    return Image.fromarray(np.tile(np.arange(30, dtype=np.uint8) * 8, (20, 1)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_an_image_of_every_format_becomes_rgb(kind: str) -> None:
    image = opened(picture(encoded(gradient(), kind)), "media[0]")
    assert (image.mode, image.size) == ("RGB", (30, 20))
    assert image.getpixel((0, 10))[0] < 40
    assert image.getpixel((29, 10))[0] > 190


def test_an_exif_orientation_is_followed() -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    image = opened(picture(encoded(gradient(), "JPEG", exif=sideways)), "media[0]")
    assert image.size == (20, 30)
    assert image.getpixel((10, 0))[0] < 40
    assert image.getpixel((10, 29))[0] > 190


def test_transparent_parts_become_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (200, 0, 0, 255))
    result = opened(picture(encoded(image)), "media[0]")
    assert result.getpixel((0, 0)) == (255, 255, 255)
    assert result.getpixel((1, 1)) == (200, 0, 0)


@pytest.mark.parametrize(("kind", "type_"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "<f4")])
def test_a_16_bit_scan_keeps_its_greys(kind: str, type_: str) -> None:
    greys = (np.arange(256).reshape(16, 16) * 257).astype(type_)
    image = opened(picture(encoded(Image.fromarray(greys), kind)), "media[0]")
    assert [image.getpixel((0, y))[0] for y in (0, 8, 15)] == [0, 128, 240]


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("L", (9, 9), grey) for grey in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert opened(picture(data), "media[0]").getpixel((4, 4)) == (10, 10, 10)


def claimed_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its thousand bytes of data do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def two_page_tiff() -> bytes:
    pages = [Image.new("L", (40, 40), "white") for _ in range(2)]
    return encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"",
            "media[0] (image/png, 0 bytes) is no image that can be read; send one of PNG, JPEG, WEBP, GIF, BMP, TIFF",
        ),
        (b"%PDF-1.7 no image", "media[0] (image/png, 17 bytes) is no image that can be read; send one of "),
        (b"RIFF\x24\0\0\0WAVEfmt ", "media[0] (image/png, 16 bytes) is no image that can be read; send one of "),
        (encoded(gradient())[:45], "media[0] is a damaged image/png: "),
        (encoded(gradient(), "JPEG")[:-300], "media[0] is a damaged image/png: "),
        (claimed_png(60_000, 60_000), "media[0] is too large: Image size (3600000000 pixels) exceeds limit"),
        (claimed_png(9_000, 9_000), "media[0] has 9000×9000 pixels, at most 40,000,000 are read; scale it down"),
        (claimed_png(500, 500), "media[0] is a damaged image/png: image file is truncated"),
        (encoded(Image.new("RGB", (1, 1))), "media[0] has 1×1 pixels; each side needs at least 8"),
        (two_page_tiff(), "media[0] is a TIFF of 2 pages; send each page as an image of its own"),
    ],
    ids=["empty", "pdf", "sound", "cut png", "cut jpeg", "bomb", "large", "false claim", "one pixel", "two pages"],
)
def test_an_image_that_cannot_be_read_is_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(WorkerError) as refusal:
        opened(picture(data), "media[0]", shortest_side=8)
    assert refusal.value.code is Code.INVALID_INPUT
    assert refusal.value.message.startswith(message)


def test_a_format_that_was_not_asked_for_is_refused() -> None:
    with pytest.raises(WorkerError, match=r"is no image that can be read; send one of PNG, JPEG$"):
        opened(picture(encoded(gradient(), "BMP")), "media[0]", formats=("PNG", "JPEG"))


WHOLE = {kind: encoded(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=30),
    kept=st.floats(0.1, 1),
)
def test_damage_never_gets_past_the_reader_as_anything_but_a_refusal(
    kind: str, damage: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(WHOLE[kind])
    for place, byte in damage:
        data[int(place * len(data))] = byte
    try:
        image = opened(picture(bytes(data[: int(kept * len(data))])), "media[0]")
    except WorkerError as error:
        assert error.code is Code.INVALID_INPUT  # noqa: PT017 - either outcome is right
    else:
        assert image.mode == "RGB"
