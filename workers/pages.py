"""The pages of an uploaded file as images, one at a time: an image, a TIFF of several pages, a PDF; it reads no text
off them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

from PIL import Image

from workers.images import FORMATS, MOST_PIXELS, image_file, page_count, refused, upright
from workers.modality import Picture

PDF = "application/pdf"
MOST_PAGES = 100
DOTS_PER_INCH = 200  # eight-point letters become 22 pixels high, which is enough to read them
POINTS_PER_INCH = 72
HEADER_BYTES = 1024  # the specification allows that much before "%PDF-"
_PASSWORD_NEEDED = 4  # FPDF_ERR_PASSWORD
_ONE_AT_A_TIME = threading.RLock()  # PDFium may not be entered by two threads, whatever documents they hold


def pages(
    picture: Picture,
    name: str,
    *,
    shortest_side: int = 1,
    most_pages: int = MOST_PAGES,
    dots_per_inch: int = DOTS_PER_INCH,
) -> Iterator[Image.Image]:
    """Each page upright in RGB, in order; the next is decoded when it is asked for, so one is in memory at a time.

    A page of a PDF is drawn with its annotations and filled forms at `dots_per_inch`, or at what keeps it within
    MOST_PIXELS. The rest as `workers.images.opened`. Raises WorkerError `invalid_input`: no image and no PDF,
    damaged, protected by a password, more than `most_pages`, a page too large or too small.
    """
    if is_pdf(picture):
        yield from _pdf_pages(picture, name, shortest_side, most_pages, dots_per_inch)
    else:
        yield from _image_pages(picture, name, shortest_side, most_pages)


def text_layer(picture: Picture, name: str, *, most_pages: int = MOST_PAGES) -> tuple[str, ...]:
    """The text that a PDF carries beside its drawing, per page; "" where a page has none (a scan), () for an image.

    Nobody checked it against what is drawn. Raises as `pages`.
    """
    if not is_pdf(picture):
        return ()
    with _document(picture, name) as document:
        return tuple(_text(document, number, name) for number in range(_counted(document, name, most_pages)))


def is_pdf(picture: Picture) -> bool:
    """Judged by its bytes; where something stands before the header, by the media type too."""
    head = picture.data[:HEADER_BYTES]
    return head.startswith(b"%PDF-") or (picture.content_type == PDF and b"%PDF-" in head)


def _image_pages(picture: Picture, name: str, shortest_side: int, most_pages: int) -> Iterator[Image.Image]:
    number = 0
    while True:  # the file is opened anew for each page: nothing of Pillow's is held while the caller reads a page
        with image_file(picture, name, known=(*FORMATS, "PDF")) as image:
            count = page_count(image, most=most_pages)
            if count > most_pages:
                raise _too_many(name, f"more than {most_pages}", most_pages)
            image.seek(number)
            page = upright(image, _named(name, number, count), shortest_side=shortest_side)
        yield page
        number += 1
        if number >= count:
            return


def _pdf_pages(
    picture: Picture, name: str, shortest_side: int, most_pages: int, dots_per_inch: int
) -> Iterator[Image.Image]:
    with _document(picture, name) as document:
        count = _counted(document, name, most_pages)
        for number in range(count):
            yield _drawn(document, number, _named(name, number, count), shortest_side, dots_per_inch)


@contextmanager
def _document(picture: Picture, name: str) -> Iterator[Any]:
    """The open PDF for the block; PDFium's errors inside it are told as damage. Closing is never left to chance."""
    import pypdfium2  # noqa: PLC0415 - a native library that only who reads PDFs pays for

    document = None
    try:
        with _ONE_AT_A_TIME:
            document = pypdfium2.PdfDocument(picture.data)
            document.init_forms()
        yield document
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_NEEDED:
            raise refused(f"{name} is a PDF protected by a password; send it without one") from error
        raise refused(f"{name} is a damaged PDF: {error}; send it again whole") from error
    finally:
        if document is not None:
            with _ONE_AT_A_TIME:
                document.close()


def _counted(document: Any, name: str, most_pages: int) -> int:
    with _ONE_AT_A_TIME:
        count = len(document)
    if count > most_pages:
        raise _too_many(name, str(count), most_pages)
    if count == 0:
        raise refused(f"{name} is a PDF without pages; send it again whole")
    return count


def _drawn(document: Any, number: int, name: str, shortest_side: int, dots_per_inch: int) -> Image.Image:
    with _ONE_AT_A_TIME, _closing(document[number]) as page:
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise refused(f"{name} has no size ({width}×{height} points); remove it or send it again whole")
        scale = min(dots_per_inch / POINTS_PER_INCH, sqrt(0.99 * MOST_PIXELS / (width * height)))
        if min(width, height) * scale < shortest_side:
            size = f"{width:.0f}×{height:.0f} points"
            raise refused(f"{name} has {size}; drawn, each side needs at least {shortest_side} pixels")
        with _closing(page.render(scale=scale, rev_byteorder=True)) as drawing:
            image: Image.Image = drawing.to_pil().convert("RGB")
            return image.copy()  # the drawing's memory is PDFium's


def _text(document: Any, number: int, name: str) -> str:
    with _ONE_AT_A_TIME, _closing(document[number]) as page, _closing(page.get_textpage()) as found:
        text: str = found.get_text_bounded()
        return text.replace("\r\n", "\n").strip()


@contextmanager
def _closing(thing: Any) -> Iterator[Any]:
    try:
        yield thing
    finally:
        thing.close()


def _named(name: str, number: int, count: int) -> str:
    return f"page {number + 1} of {name}" if count > 1 else name


def _too_many(name: str, count: str, most_pages: int) -> Exception:
    return refused(f"{name} has {count} pages, at most {most_pages} are read at once; split it")
