"""Uploaded files in a folder of one machine. Ids are random, so an id is never a path of the caller's making."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from pathlib import Path

from orchestrator.core.errors import InvalidInput, NotFound, StoreUnavailable

_ID = re.compile(r"[0-9a-f]{32}")


class FolderBlobs:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, data: bytes, content_type: str) -> str:
        blob_id = secrets.token_hex(16)
        try:
            await asyncio.to_thread(self._write, blob_id, data, content_type)
        except OSError as error:
            raise StoreUnavailable(
                f"the file cannot be kept in {self._folder}: {error.strerror}. Free some space, then try again."
            ) from error
        return blob_id

    async def get(self, blob_id: str) -> tuple[bytes, str]:
        if not _ID.fullmatch(blob_id):
            raise InvalidInput(f"{blob_id!r} is not a blob id (32 hexadecimal digits)", field="blob")
        try:
            return await asyncio.to_thread(self._read, blob_id)
        except FileNotFoundError as error:
            raise NotFound(f"no blob {blob_id}; upload it first with POST /blobs.", blob=blob_id) from error

    def _write(self, blob_id: str, data: bytes, content_type: str) -> None:
        """Data first, then its description: a blob without one does not exist."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / blob_id).write_bytes(data)
        part = self._folder / f"{blob_id}.part"
        part.write_text(json.dumps({"content_type": content_type, "bytes": len(data)}), "utf-8")
        part.rename(self._folder / f"{blob_id}.json")

    def _read(self, blob_id: str) -> tuple[bytes, str]:
        about = json.loads((self._folder / f"{blob_id}.json").read_text("utf-8"))
        return (self._folder / blob_id).read_bytes(), str(about["content_type"])
