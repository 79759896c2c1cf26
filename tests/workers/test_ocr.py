"""PP-OCR on pages rendered here: how many characters it reads wrongly, and that no image breaks it."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from registry.load import load
from registry.schema import Task
from workers import ocr
from workers.images import opened
from workers.modality import Batch, Code, Item, Machine, Picture, WorkerError

LINES = (
    "Pennyroute answers every call of a backend",
    "with the cheapest model that is good enough.",
    "Invoice 4711 of 3 May 2026: total 1,299.50 EUR",
    "Contact: support@example.org, +49 30 1234567",
)
PAGE = "\n".join(LINES)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ocr.load(load().get("ppocr-rapidocr"), Machine(models_dir=tmp_path_factory.mktemp("models")))


def page(size: int = 32) -> Image.Image:
    """LINES in Pillow's own font, black on white."""
    image = Image.new("RGB", (28 * size, 8 * size), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for number, line in enumerate(LINES):
        draw.text((size, size + number * 1.7 * size), line, fill="black", font=font)
    return image


def noisy(image: Image.Image) -> Image.Image:
    dice = random.Random(7)  # noqa: S311 - noise, not a secret
    pixels = image.convert("L").tobytes()
    grain = bytes(max(0, min(255, pixel + int(dice.gauss(0, 25)))) for pixel in pixels)
    return Image.frombytes("L", image.size, grain)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def read(engine: Any, *images: bytes, content_type: str = "image/png") -> Any:
    media = tuple(Picture(content_type=content_type, data=data) for data in images)
    (result,) = ocr.infer(engine, Batch(task=Task.OCR, items=(Item(media=media),)))
    return result


def distance(one: str, other: str) -> int:
    """Levenshtein: characters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def error_share(engine: Any, image: bytes) -> float:
    return distance(read(engine, image)["results"][0]["text"], PAGE) / len(PAGE)


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("clean", encoded(page())),
        ("small letters", encoded(page(16))),
        ("noisy", encoded(noisy(page()))),
        ("blurred", encoded(page().filter(ImageFilter.GaussianBlur(1.5)))),
        ("JPEG of low quality", encoded(page(), "JPEG", quality=20)),
        ("one bit per pixel", encoded(page().convert("1"))),
        ("palette", encoded(page().convert("P"), "GIF")),
        ("CMYK", encoded(page().convert("CMYK"), "JPEG")),
        ("16 bit grey", encoded(page().convert("I;16"))),
        ("WebP", encoded(page(), "WEBP")),
    ],
)
def test_at_most_one_character_in_a_hundred_is_wrong(engine: Any, kind: str, image: bytes) -> None:
    assert error_share(engine, image) <= 0.01


def test_an_exif_orientation_is_followed(engine: Any) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    photo = encoded(page().rotate(90, expand=True), "JPEG", quality=95, exif=sideways)
    assert error_share(engine, photo) <= 0.01
    assert read(engine, photo)["results"][0]["width"] == 896


def test_black_letters_on_transparent_ground_are_read(engine: Any) -> None:
    ink = page().convert("L").point(lambda grey: 255 - grey)
    image = Image.new("RGBA", ink.size, (0, 0, 0, 255))
    image.putalpha(ink)
    assert error_share(engine, encoded(image)) <= 0.01


def test_lines_come_top_to_bottom_with_confidence_and_corners(engine: Any) -> None:
    (found,) = read(engine, encoded(page()))["results"]
    assert [line["text"] for line in found["lines"]] == found["text"].split("\n")
    tops = [line["box"][0][1] for line in found["lines"]]
    assert tops == sorted(tops)
    assert all(len(line["box"]) == 4 and line["confidence"] > 0.9 for line in found["lines"])
    assert (found["width"], found["height"]) == (896, 256)


def test_an_image_without_text_has_none(engine: Any) -> None:
    blank = encoded(Image.new("RGB", (64, 48), "white"))
    assert read(engine, blank)["results"] == [{"text": "", "lines": [], "width": 64, "height": 48}]


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
    ("image", "message"),
    [
        (
            b"",
            "media[0] (image/png, 0 bytes) is no image that can be read; send one of PNG, JPEG, WEBP, GIF, BMP, TIFF",
        ),
        (b"%PDF-1.7 no image", "media[0] (image/png, 17 bytes) is no image that can be read; send one of "),
        (encoded(page())[:3000], "media[0] is a damaged image/png: "),
        (encoded(page(), "JPEG")[:5000], "media[0] is a damaged image/png: image file is truncated"),
        (claimed_png(60_000, 60_000), "media[0] is too large: Image size (3600000000 pixels) exceeds limit"),
        (
            claimed_png(9_000, 9_000),
            "media[0] has 9000×9000 pixels, at most 40,000,000 are read; scale it down",
        ),
        (claimed_png(500, 500), "media[0] is a damaged image/png: image file is truncated"),
        (
            encoded(Image.new("RGB", (1, 1))),
            "media[0] has 1×1 pixels; each side needs at least 8",
        ),
        (two_page_tiff(), "media[0] is a TIFF of 2 pages; send each page as an image of its own"),
    ],
    ids=["empty", "pdf", "cut png", "cut jpeg", "bomb", "large", "false claim", "one pixel", "two pages"],
)
def test_an_image_that_cannot_be_read_is_refused_with_a_reason(engine: Any, image: bytes, message: str) -> None:
    error = read(engine, image)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message.startswith(message)


def test_random_damage_never_gets_past_the_reader_as_anything_but_a_refusal() -> None:
    dice = random.Random(11)  # noqa: S311 - damage, not a secret
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = encoded(page(12), kind)
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(dice.randrange(1, 30)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            try:
                image = opened(Picture(content_type="image/x", data=bytes(damaged)), "media[0]")
            except WorkerError as error:
                assert error.code is Code.INVALID_INPUT  # noqa: PT017 - either outcome is right
            else:
                assert image.mode == "RGB"


def test_no_image_is_refused(engine: Any) -> None:
    assert str(read(engine)) == "ocr needs at least one image; `media` is empty"
