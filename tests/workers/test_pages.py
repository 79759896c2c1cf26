"""An upload page by page: images, TIFFs, PDFs; and that no file breaks the reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.workers.scans import encoded, locked_pdf, pdf, text_pdf
from workers.modality import Code, Picture, WorkerError
from workers.pages import is_pdf, pages, text_layer


def picture(data: bytes, content_type: str = "application/octet-stream") -> Picture:
    return Picture(content_type=content_type, data=data)


def greys(*levels: int, kind: str = "TIFF") -> bytes:
    """A file of one 40 × 30 page for each grey level, PDFs at 72 dots an inch."""
    images = [Image.new("L", (40, 30), level) for level in levels]
    return encoded(images[0], kind, save_all=True, append_images=images[1:])


def test_an_image_is_one_page() -> None:
    (page,) = pages(picture(encoded(Image.new("L", (40, 30), 90))), "media[0]")
    assert (page.mode, page.size, page.getpixel((5, 5))) == ("RGB", (40, 30), (90, 90, 90))


def test_an_animation_is_one_page() -> None:
    assert len(list(pages(picture(greys(1, 2, kind="GIF")), "media[0]"))) == 1


def test_a_tiff_gives_its_pages_in_order() -> None:
    found = list(pages(picture(greys(10, 120, 240)), "media[0]"))
    assert [page.getpixel((20, 15)) for page in found] == [(10, 10, 10), (120, 120, 120), (240, 240, 240)]


def test_a_pdf_gives_its_pages_in_order_at_200_dots_an_inch() -> None:
    found = list(pages(picture(greys(10, 120, 240, kind="PDF")), "media[0]"))
    assert [page.size for page in found] == [(112, 84)] * 3  # 40 / 72 inches × 200, rounded up
    assert [round(page.getpixel((56, 42))[0], -1) for page in found] == [10, 120, 240]


def test_a_page_of_a_pdf_that_would_be_too_large_is_drawn_smaller() -> None:
    (page,) = pages(picture(text_pdf("Poster", width=4000, height=4000)), "media[0]")
    assert 39_000_000 < page.width * page.height <= 40_000_000


def test_the_text_layer_is_given_page_by_page() -> None:
    assert text_layer(picture(text_pdf("Hello there", "Second page")), "media[0]") == ("Hello there", "Second page")
    assert text_layer(picture(greys(10, kind="PDF")), "media[0]") == ("",)
    assert text_layer(picture(greys(10)), "media[0]") == ()


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        (b"%PDF-1.4", "image/png", True),
        (b"\r\n junk %PDF-1.4", "application/pdf", True),
        (b"\r\n junk %PDF-1.4", "image/png", False),
        (b"\x89PNG", "application/pdf", False),
    ],
)
def test_a_pdf_is_known_by_its_bytes(data: bytes, content_type: str, expected: bool) -> None:
    assert is_pdf(picture(data, content_type)) is expected


def test_an_image_that_is_called_a_pdf_is_read_as_what_it_is() -> None:
    (page,) = pages(picture(encoded(Image.new("L", (40, 30))), "application/pdf"), "media[0]")
    assert page.size == (40, 30)


def test_pages_are_decoded_as_they_are_asked_for() -> None:
    whole = bytearray(greys(10, 120))
    found = pages(picture(bytes(whole[:-60])), "media[0]")  # the second page's pixels are cut
    assert next(found).getpixel((20, 15)) == (10, 10, 10)
    with pytest.raises(WorkerError, match="media\\[0\\] is a damaged application/octet-stream: "):
        next(found)


NO_PAGES = pdf(b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "media[0] (application/octet-stream, 0 bytes) is no image that can be read; send one of PNG, JPEG, "),
        (b"ID3\x03 sound", "media[0] (application/octet-stream, 10 bytes) is no image that can be read; send one of "),
        (text_pdf("Hello")[:200], "media[0] is a damaged PDF: "),
        (b"%PDF-1.7\n" + b"\0" * 5000, "media[0] is a damaged PDF: "),
        (locked_pdf(), "media[0] is a PDF protected by a password; send it without one"),
        (NO_PAGES, "media[0] is a "),
        (text_pdf(*"abcd"), "media[0] has 4 pages, at most 3 are read at once; split it"),
        (greys(1, 2, 3, 4), "media[0] has more than 3 pages, at most 3 are read at once; split it"),
        (text_pdf("x", width=1, height=1), "media[0] has 1×1 points; drawn, each side needs at least 8 pixels"),
        (encoded(Image.new("L", (3, 3))), "media[0] has 3×3 pixels; each side needs at least 8"),
    ],
    ids=["empty", "sound", "cut", "zeros", "locked", "no pages", "many", "many tiff", "tiny pdf", "tiny image"],
)
def test_a_file_that_cannot_be_read_is_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(WorkerError) as refusal:
        list(pages(picture(data), "media[0]", shortest_side=8, most_pages=3))
    assert refusal.value.code is Code.INVALID_INPUT
    assert refusal.value.message.startswith(message)


def test_a_page_of_many_is_named_by_its_number() -> None:
    sizes = [Image.new("L", (40, 30)), Image.new("L", (4, 3))]
    data = encoded(sizes[0], "TIFF", save_all=True, append_images=sizes[1:])
    with pytest.raises(WorkerError, match=r"^page 2 of media\[0\] has 4×3 pixels; each side needs at least 8$"):
        list(pages(picture(data), "media[0]", shortest_side=8))


WHOLE = {
    "TIFF": greys(10, 120),
    "scan": greys(10, 120, kind="PDF"),
    "letters": text_pdf("Hello", "there", width=60, height=60),
    "GIF": greys(10, 120, kind="GIF"),
}


@settings(max_examples=300, deadline=None, derandomize=True)
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
    upload = picture(bytes(data[: int(kept * len(data))]))
    try:
        found = [page.mode for page in pages(upload, "media[0]", most_pages=3)]
        layers = text_layer(upload, "media[0]", most_pages=3)
    except WorkerError as error:
        assert error.code is Code.INVALID_INPUT  # noqa: PT017 - either outcome is right
    else:
        assert set(found) == {"RGB"}
        assert len(layers) in {0, len(found)}
