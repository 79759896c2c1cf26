"""Files on the wire: base64 and data: URLs decoded, media types told by their first bytes. Opens no file."""

from __future__ import annotations

import base64
import re

from orchestrator.core.errors import InvalidInput

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
UNKNOWN = "application/octet-stream"
_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}")


def sniff(data: bytes) -> str:
    """The media type by the first bytes; application/octet-stream when none is known."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], UNKNOWN)
    return next((content_type for magic, content_type in _MAGIC if data.startswith(magic)), UNKNOWN)


def named_type(header: str) -> str:
    """The media type a header names, without parameters; empty where it names none."""
    content_type = header.split(";", maxsplit=1)[0].strip().lower()
    return content_type if _TYPE.fullmatch(content_type) else ""


def decode(text: str, field: str) -> tuple[str, bytes]:
    """Media type (empty where none is named) and bytes of base64, wrapped in lines or not, or a data: URL.

    Raises InvalidInput."""
    content_type = ""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise InvalidInput(f"{field} is a data: URL without ;base64,; write it as base64.", field=field)
        content_type = named_type(head[5:])
    try:
        return content_type, base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InvalidInput(f"{field} is not base64: {error}.", field=field) from error
