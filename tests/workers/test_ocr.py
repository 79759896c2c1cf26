"""PP-OCR on pages rendered here: how many characters it reads wrongly however they lie, and that no file breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from registry.load import load
from registry.schema import Task
from tests.workers.scans import (
    HEADING,
    LEFT,
    LINES,
    PAGE,
    RIGHT,
    TABLE,
    columns,
    distance,
    encoded,
    faint,
    locked_pdf,
    noisy,
    page,
    sans,
    serif,
    skewed,
    table,
    text_pdf,
)
from workers import ocr
from workers.modality import Batch, Code, Item, Machine, Picture, WorkerError


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ocr.load(load().get("ppocr-rapidocr"), Machine(models_dir=tmp_path_factory.mktemp("models")))


def read(engine: Any, *files: bytes, **how: Any) -> Any:
    """The result for one item with these files, or its error."""
    media = tuple(Picture(content_type="application/octet-stream", data=data) for data in files)
    (result,) = ocr.infer(engine, Batch(task=Task.OCR, items=(Item(media=media),), **how))
    return result


def found(engine: Any, image: Image.Image) -> dict[str, Any]:
    (result,) = read(engine, encoded(image))["results"]
    return dict(result)


def error_share(text: str, expected: str = PAGE) -> float:
    """Characters that are wrong, missing or too many, in each that stands on the page."""
    return distance(text, expected) / len(expected)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("clean", encoded(page())),
        ("serif", encoded(page(face=serif))),
        ("small letters", encoded(page(14))),
        ("large letters", encoded(page(90))),
        ("noise", encoded(noisy(page()))),
        ("blur", encoded(page().filter(ImageFilter.GaussianBlur(1.5)))),
        ("JPEG of quality 30", encoded(page(), "JPEG", quality=30)),
        ("faint", encoded(faint(page()))),
        ("white on dark", encoded(page(ink="#f0f0a0", paper="#303060"))),
        ("one bit per pixel", encoded(page().convert("1"))),
        ("palette", encoded(page().convert("P"), "GIF")),
        ("CMYK", encoded(page().convert("CMYK"), "JPEG")),
        ("16 bit grey", encoded(Image.fromarray(np.asarray(page().convert("L")).astype("<u2") * 257))),
        ("skewed by 5 degrees", encoded(skewed(page(), 5))),
        ("skewed by −5 degrees", encoded(skewed(page(), -5))),
        ("PDF of a scan", encoded(page(), "PDF", resolution=150)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_at_most_one_character_in_a_hundred_is_wrong(engine: Any, kind: str, data: bytes) -> None:
    (result,) = read(engine, data)["results"]
    assert error_share(result["text"]) <= 0.01
    assert result["orientation"] == 0


@pytest.mark.parametrize(
    ("degrees", "image"),
    [
        (90, page()),
        (180, page()),
        (270, page()),
        (90, skewed(page(), -3)),
        (180, noisy(page())),
        (270, page(face=serif)),
    ],
    ids=["90", "180", "270", "90 and skewed", "180 and noisy", "270 and serif"],
)
def test_a_page_that_lies_turned_is_read_all_the_same(engine: Any, degrees: int, image: Image.Image) -> None:
    result = found(engine, image.rotate(-degrees, expand=True))
    assert error_share(result["text"]) <= 0.01
    assert result["orientation"] == degrees


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_page_of_two_words_is_enough_to_see_how_it_lies(engine: Any, degrees: int) -> None:
    label = Image.new("RGB", (300, 60), "white")
    ImageDraw.Draw(label).text((8, 12), "Invoice 4711", fill="black", font=sans(30))
    result = found(engine, label.rotate(-degrees, expand=True))
    assert (result["text"], result["orientation"]) == ("Invoice 4711", degrees)


def test_the_skew_is_told_in_degrees_clockwise(engine: Any) -> None:
    assert found(engine, skewed(page(), -4))["skew"] == pytest.approx(4, abs=0.5)
    assert found(engine, skewed(page(), 4))["skew"] == pytest.approx(-4, abs=0.5)


@pytest.mark.parametrize(
    ("degrees", "corner"),
    [(0, (32, 32)), (90, (576 - 32, 32)), (180, (1088 - 32, 576 - 32)), (270, (32, 1088 - 32))],
)
def test_boxes_lie_on_the_page_as_it_was_sent_and_begin_where_the_line_begins(
    engine: Any, degrees: int, corner: tuple[int, int]
) -> None:
    image = page().rotate(-degrees, expand=True)
    result = found(engine, image)
    assert (result["width"], result["height"]) == image.size
    first = result["lines"][0]
    assert first["text"] == LINES[0]
    assert np.hypot(*np.subtract(first["box"][0], corner)) < 20  # pixels, of letters 32 high


def test_a_photograph_that_says_how_it_was_held_is_turned_before_it_is_read(engine: Any) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    photo = encoded(page().rotate(90, expand=True), "JPEG", quality=95, exif=sideways)
    (result,) = read(engine, photo)["results"]
    assert error_share(result["text"]) <= 0.01
    assert (result["width"], result["height"], result["orientation"]) == (1088, 576, 0)


def test_columns_are_read_one_after_the_other(engine: Any) -> None:
    expected = "\n".join((HEADING, *LEFT, *RIGHT))
    for image in (columns(), skewed(columns(face=serif, size=24), 2).rotate(180)):
        assert error_share(found(engine, image)["text"], expected) <= 0.02


def test_tables_are_read_row_by_row(engine: Any) -> None:
    assert found(engine, table())["text"] == "\n".join("\t".join(row) for row in TABLE)


def test_a_note_that_stands_upright_in_the_margin_is_read_too(engine: Any) -> None:
    image = page()
    note = Image.new("RGB", (300, 50), "white")
    ImageDraw.Draw(note).text((8, 8), "Received 7 May", fill="black", font=sans(30))
    image.paste(note.rotate(90, expand=True), (1010, 120))
    result = found(engine, image)
    assert "Received 7 May" in [line["text"] for line in result["lines"]]
    assert error_share(result["text"].replace("\nReceived 7 May", "")) <= 0.01


def test_the_text_is_its_lines_each_with_confidence_and_corners(engine: Any) -> None:
    result = found(engine, page())
    assert [line["text"] for line in result["lines"]] == result["text"].split("\n")
    assert all(len(line["box"]) == 4 and 0.9 < line["confidence"] <= 1 for line in result["lines"])


def test_an_image_without_text_has_none(engine: Any) -> None:
    assert found(engine, Image.new("RGB", (64, 48), "white")) == {
        "text": "",
        "lines": [],
        "width": 64,
        "height": 48,
        "orientation": 0,
        "skew": 0.0,
    }


@pytest.mark.parametrize("size", [(8, 5000), (39_000, 8), (1000, 39_000)])
def test_an_image_of_extreme_shape_is_looked_at_without_harm(engine: Any, size: tuple[int, int]) -> None:
    assert found(engine, Image.new("1", size, 1))["text"] == ""


def test_a_line_far_wider_than_the_network_takes_is_read_whole(engine: Any) -> None:
    text = " ".join(LINES)
    image = Image.new("RGB", (int(sans(32).getlength(text)) + 60, 80), "white")
    ImageDraw.Draw(image).text((30, 20), text, fill="black", font=sans(32))
    assert error_share(found(engine, image)["text"], text) <= 0.02


def test_each_page_of_a_pdf_has_its_own_result(engine: Any) -> None:
    (whole,) = read(engine, text_pdf("Page the first", "Page the second"))["results"]
    assert whole["text"] == "Page the first\fPage the second"
    assert [each["text"] for each in whole["pages"]] == ["Page the first", "Page the second"]
    assert [(each["width"], each["height"]) for each in whole["pages"]] == [(1112, 556)] * 2


def test_pages_of_one_file_may_lie_differently(engine: Any) -> None:
    scans = [page(20), page(20).rotate(180), page(20).rotate(90, expand=True)]
    data = encoded(scans[0], "PDF", resolution=100, save_all=True, append_images=scans[1:])
    (whole,) = read(engine, data)["results"]
    assert [each["orientation"] for each in whole["pages"]] == [0, 180, 270]
    assert all(error_share(each["text"]) <= 0.01 for each in whole["pages"])


def test_files_keep_their_order(engine: Any) -> None:
    results = read(engine, text_pdf("One"), encoded(page()), text_pdf("Two"))["results"]
    assert [result["text"].split("\n")[0] for result in results] == ["One", LINES[0], "Two"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "media[1] (application/octet-stream, 0 bytes) is no image that can be read; send one of "),
        (b"fLaC\0\0\0\x22", "media[1] (application/octet-stream, 8 bytes) is no image that can be read; send one of "),
        (encoded(page(12))[:1500], "media[1] is a damaged application/octet-stream: "),
        (encoded(Image.new("RGB", (1, 1))), "media[1] has 1×1 pixels; each side needs at least 8"),
        (encoded(Image.new("1", (20_000, 20_000))), "media[1] is too large: Image size (400000000 pixels) exceeds"),
        (locked_pdf(), "media[1] is a PDF protected by a password; send it without one"),
        (text_pdf("Hello")[:300], "media[1] is a damaged PDF: "),
        (text_pdf(*["x"] * 101), "media[1] has 101 pages, at most 100 are read at once; split it"),
    ],
    ids=["empty", "sound", "cut", "one pixel", "bomb", "locked", "cut pdf", "book"],
)
def test_a_file_that_cannot_be_read_is_refused_and_the_next_call_works(engine: Any, data: bytes, message: str) -> None:
    error = read(engine, text_pdf("One"), data)
    assert isinstance(error, WorkerError)
    assert error.code is Code.INVALID_INPUT
    assert error.message.startswith(message)
    assert read(engine, text_pdf("Next"))["results"][0]["text"] == "Next"


def test_no_file_is_refused(engine: Any) -> None:
    assert str(read(engine)) == "ocr needs at least one image or PDF; `media` is empty"


def test_reading_ends_when_the_deadline_has_passed(engine: Any) -> None:
    error = read(engine, text_pdf("One", "Two"), deadline=0.0)
    assert isinstance(error, WorkerError)
    assert error.code is Code.TIMEOUT


def test_reading_ends_when_nobody_waits_any_more(engine: Any) -> None:
    asked: list[int] = []

    def after_three(item: int) -> bool:
        asked.append(item)
        return len(asked) > 3

    error = read(engine, encoded(page(20)), stopped=after_three)
    assert isinstance(error, WorkerError)
    assert error.code is Code.TIMEOUT
    assert len(asked) == 4  # between lines: not after all eight of them


def test_one_callers_bad_file_leaves_the_other_callers_alone(engine: Any) -> None:
    items = tuple(Item(media=(Picture(content_type="a/b", data=data),)) for data in (b"no", text_pdf("Well")))
    bad, good = ocr.infer(engine, Batch(task=Task.OCR, items=items))
    assert isinstance(bad, WorkerError)
    assert not isinstance(good, WorkerError)
    assert good["results"][0]["text"] == "Well"
