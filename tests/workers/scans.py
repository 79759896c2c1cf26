"""Pages rendered for tests, what is written on them, and how scanners spoil them; no system font, no stored picture."""

from __future__ import annotations

import io
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

LINES = (
    "Pennyroute answers every call of a backend",
    "with the cheapest model that is good enough.",
    "Invoice 4711 of 3 May 2026: total 1,299.50 EUR",
    "Contact: support@example.org, +49 30 1234567",
    "Payment is due within fourteen days of delivery;",
    "please state the customer number 80-2231 (Berlin).",
    "Weights that are absent are named by the doctor,",
    "and the queue says how long a caller has to wait.",
)
PAGE = "\n".join(LINES)
LEFT = (
    "A ledger knows every call.",
    "It keeps what was spent and",
    "on which model, so that the",
    "next request can be cheaper.",
    "Nothing is paid twice here.",
)
RIGHT = (
    "Queues carry what is slow.",
    "Each worker holds one model",
    "and answers many callers in",
    "one pass, without a queue of",
    "its own and without a clock.",
)
HEADING = "Two columns under one heading, read one after the other"
TABLE = (
    ("Item", "Quantity", "Price"),
    ("Paper, white", "12", "4.90"),
    ("Ink", "3", "17.25"),
    ("Stapler with spare parts", "1", "8.40"),
)


def sans(size: int) -> Any:
    """The font that Pillow carries."""
    return ImageFont.load_default(size)


def serif(size: int) -> Any:
    """A second face, from the fonts that matplotlib carries; matplotlib itself stays unloaded."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.origin is not None
    return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSerif.ttf"), size)


def page(size: int = 32, face: Any = sans, ink: str = "black", paper: str = "white") -> Image.Image:
    """LINES, `size` pixels high."""
    image = Image.new("RGB", (34 * size, (2 + 2 * len(LINES)) * size), paper)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(LINES):
        draw.text((size, size + number * 1.8 * size), line, fill=ink, font=face(size))
    return image


def columns(size: int = 28, face: Any = sans) -> Image.Image:
    """HEADING over LEFT and RIGHT, whose lines are not on one height."""
    image = Image.new("RGB", (36 * size, 13 * size), "white")
    draw = ImageDraw.Draw(image)
    draw.text((size, size), HEADING, fill="black", font=face(size))
    for x, offset, lines in ((1, 0.0, LEFT), (18, 0.4, RIGHT)):
        for number, line in enumerate(lines):
            draw.text((x * size, (3.5 + offset + number * 1.6) * size), line, fill="black", font=face(size))
    return image


def table(size: int = 28) -> Image.Image:
    image = Image.new("RGB", (32 * size, 11 * size), "white")
    draw = ImageDraw.Draw(image)
    for row, cells in enumerate(TABLE):
        for x, cell in zip((1, 18, 26), cells, strict=True):
            draw.text((x * size, (1 + row * 2.2) * size), cell, fill="black", font=sans(size))
    return image


def skewed(image: Image.Image, degrees: float) -> Image.Image:
    """Turned counter-clockwise, the paper's corners white."""
    return image.rotate(degrees, expand=True, fillcolor="white", resample=Image.Resampling.BICUBIC)


def noisy(image: Image.Image) -> Image.Image:
    """Gaussian noise of 25 grey levels."""
    dice = random.Random(7)  # noqa: S311 - noise, not a secret
    pixels = image.convert("L").tobytes()
    grain = bytes(max(0, min(255, pixel + int(dice.gauss(0, 25)))) for pixel in pixels)
    return Image.frombytes("L", image.size, grain)


def faint(image: Image.Image) -> Image.Image:
    """Ink and paper 15 grey levels apart."""
    return image.convert("L").point(lambda grey: 180 + grey * 15 // 255)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def distance(one: str, other: str) -> int:
    """Levenshtein: characters to insert, delete or replace."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1; the first is the catalogue."""
    body, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    end = b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end


def text_pdf(*texts: str, width: int = 400, height: int = 200) -> bytes:
    """One page for each text, as letters (with a text layer), not as a picture; sizes in points."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(texts)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(texts):
        stream = b"BT /F1 24 Tf 20 %d Td (%s) Tj ET" % (height - 60, text.encode())
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (width, height, 5 + 2 * number),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    return pdf(*objects)


def locked_pdf() -> bytes:
    """Encrypted in a way that no password, the empty one included, opens."""
    lock = b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"11" * 32, b"22" * 32)
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] >>",
        lock,
        trailer=b"/Encrypt 4 0 R /ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>]",
    )
