"""The wire to the model hub through huggingface_hub: what a repository holds, and one file's bytes.

The library brings endpoint (HF_ENDPOINT), token, proxies and redirects; its errors are translated here. It is
imported when first needed: a machine that never downloads does not need it. Of its ways to fetch a file this uses
the one that can go on from the middle; the library's own download begins anew after every interruption.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.schema import Card
from registry.weights.errors import GatedModel, HubRefused, HubUnreachable, MissingWeights, UnsafeWeights
from registry.weights.folders import safe_name

TIMEOUT_S = 30.0
PIECE_BYTES = 1 << 20  # what a cut loses at most, and how often a bar moves; the library's own is 10 MB
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
Heard = Callable[[int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file of a repository. Large files have a SHA-256, small ones the SHA-1 that git gives them."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What one commit of a repository holds."""

    hub_id: str
    revision: str
    gated: bool
    files: tuple[RemoteFile, ...]


def list_files(card: Card, hub_id: str, revision: str | None) -> Listing:
    """The files of a repository at a revision (None: the newest). Raises HubRefused, HubUnreachable, GatedModel."""
    with _translated(card, hub_id, revision):
        told = _library().HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        if not told.sha or told.siblings is None:
            raise HubRefused(f"{hub_id}: the hub tells no revision and files of it; check HF_ENDPOINT")
        files = tuple(_remote(each) for each in told.siblings if _is_plain(each.rfilename))
        return Listing(hub_id=hub_id, revision=told.sha, gated=bool(told.gated), files=files)


def fetch(card: Card, at: Listing, file: RemoteFile, to: Path, heard: Heard) -> None:
    """Brings one file to `to`, going on where an earlier try ended. `heard` is told bytes as they come, also minus.

    Raises as `list_files` does; what came so far stays in `to`.
    """
    have = to.stat().st_size if to.exists() else 0
    if have > file.bytes:
        to.unlink()
        have = 0
    library = _library()
    url = library.hf_hub_url(at.hub_id, file.name, revision=at.revision, endpoint=library.HfApi().endpoint)
    with _translated(card, at.hub_id, at.revision), to.open("ab") as out, _quiet_and_fine():
        library.file_download.http_get(
            url,
            _Counted(out, heard),
            resume_size=have,
            headers={**library.utils.build_hf_headers(), "Accept-Encoding": "identity"},
            expected_size=file.bytes,
            displayed_filename=file.name,
            tqdm_class=_NoBar,
        )


def cached(at: Listing, file: RemoteFile) -> Path | None:
    """The file in the library's own cache of this machine, at this very commit; None where it is not there."""
    found = _library().try_to_load_from_cache(at.hub_id, file.name, revision=at.revision)
    path = Path(found) if isinstance(found, str) else None
    return path if path and path.is_file() and path.stat().st_size == file.bytes else None


class _Counted:
    """An open file that tells how many bytes were written, and how many a truncation took back."""

    def __init__(self, out: Any, heard: Heard) -> None:
        self._out, self._heard = out, heard

    def write(self, data: bytes) -> int:
        self._heard(len(data))
        return int(self._out.write(data))

    def tell(self) -> int:
        return int(self._out.tell())

    def seek(self, to: int) -> int:
        return int(self._out.seek(to))

    def truncate(self) -> int:
        end = self._out.seek(0, 1)
        self._out.flush()
        size = self._out.seek(0, 2)
        self._out.seek(end)
        self._heard(end - size)
        return int(self._out.truncate(end))


class _NoBar:
    """In place of the library's progress bar: ours counts what is written."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, _: object) -> None: ...

    def close(self) -> None: ...


@contextmanager
def _quiet_and_fine() -> Iterator[None]:
    """For one transfer: no warnings of tries that fail (they tear a bar apart; the last error is told by ours), and
    smaller pieces. Both are settings of the whole library, so they are put back."""
    log, constants = logging.getLogger("huggingface_hub"), _library().constants
    level, piece_bytes = log.level, constants.DOWNLOAD_CHUNK_SIZE
    log.setLevel(logging.ERROR)
    constants.DOWNLOAD_CHUNK_SIZE = PIECE_BYTES
    try:
        yield
    finally:
        log.setLevel(level)
        constants.DOWNLOAD_CHUNK_SIZE = piece_bytes


@contextmanager
def _translated(card: Card, hub_id: str, revision: str | None) -> Iterator[None]:
    """The library's errors as ours, with what to do next."""
    library = _library()
    errors = library.errors
    where = f"{hub_id} at {revision}" if revision else hub_id
    try:
        yield
    except errors.GatedRepoError as error:
        page = f"https://huggingface.co/{hub_id}"
        raise GatedModel(
            f"{card.name} is gated: accept its licence at {page}, log in with `hf auth login` or set HF_TOKEN, then "
            f"run `pennyroute models download {card.id}` again",
            page=page,
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.DisabledRepoError) as error:
        raise HubRefused(
            f"the hub has no {where} that may be read ({_status(error)}); check the card of {card.id}, or log in with "
            "`hf auth login` if it is private"
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise HubRefused(
            f"{where} has no such file any more ({_status(error)}); check the card of {card.id}"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable("the hub library is set to offline; unset HF_HUB_OFFLINE to download") from error
    except errors.HfHubHTTPError as error:
        if _code(error) in TRY_AGAIN:
            raise HubUnreachable(f"the hub answered {_status(error)} for {where}; try again later") from error
        raise HubRefused(f"the hub refused {where}: {_status(error)}") from error
    except _transport_errors() as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise  # our own disk
        raise HubUnreachable(
            f"the hub did not give {where}: {str(error).splitlines()[0] if str(error) else type(error).__name__}; "
            "check the connection, then run the same command again: it goes on where it stopped"
        ) from error


def _status(error: Any) -> str:
    return f"HTTP {_code(error) or 'error'}"


def _code(error: Any) -> int | None:
    found: int | None = getattr(getattr(error, "response", None), "status_code", None)
    return found


def _remote(told: Any) -> RemoteFile:
    size = told.lfs.size if told.lfs else told.size
    return RemoteFile(
        name=told.rfilename,
        bytes=int(size or 0),
        sha256=told.lfs.sha256 if told.lfs else None,
        git_sha1=None if told.lfs else told.blob_id,
    )


def _is_plain(name: str) -> bool:
    """Names that could leave their folder are no files to us, whatever a hub calls them."""
    try:
        safe_name(name)
    except UnsafeWeights:
        return False
    return True


def _library() -> Any:
    try:
        import huggingface_hub  # noqa: PLC0415  (see the top)
        import huggingface_hub.errors  # noqa: PLC0415
        import huggingface_hub.file_download  # noqa: PLC0415
    except ImportError as error:
        raise MissingWeights(
            "downloading needs huggingface_hub; run `pip install 'pennyroute[local]'`, or bring the files with "
            "`pennyroute models import`"
        ) from error
    return huggingface_hub


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the library's own HTTP client raises when a connection fails, and the library when bytes are missing."""
    import httpx2  # noqa: PLC0415  (comes with huggingface_hub)

    return httpx2.TransportError, OSError
