"""The sound of an uploaded recording, piece by piece; it opens no other file and keeps no recording."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workers.modality import Code, Picture, WorkerError

if TYPE_CHECKING:
    from av.container import InputContainer

RATE_HZ = 16_000  # what the speech models were trained on
FORMATS = "wav,mp3,ogg,flac,mov,matroska,aac"
"""FFmpeg's readers that may look at an upload. Its playlist formats (hls, concat) open other files and addresses."""
NAMES = "WAV, MP3, OGG, FLAC, M4A, MP4, AAC or WebM"
Samples = NDArray[np.float32]


class Recording:
    """One upload: its sound as float32 samples in [−1, 1], one channel, RATE_HZ a second, decoded while it is read.

    `damaged` counts the packets that could not be decoded so far; their sound is left out.
    """

    def __init__(self, picture: Picture, name: str) -> None:
        self._picture = picture
        self._name = name
        self.damaged = 0
        self.duration_s = 0.0
        """Of what was decoded so far."""

    def blocks(self, seconds: float) -> Iterator[Samples]:
        """Blocks of `seconds`, the last one shorter. Raises WorkerError `invalid_input`: no recording we read, no
        sound in it, nothing of it can be decoded."""
        size = int(seconds * RATE_HZ)
        waiting: list[Samples] = []
        held = 0
        for piece in self._pieces():
            waiting.append(piece)
            held += piece.size
            while held >= size:
                whole = np.concatenate(waiting)
                yield whole[:size]
                waiting, held = [whole[size:]], held - size
        if held:
            yield np.concatenate(waiting)

    def _pieces(self) -> Iterator[Samples]:
        import av  # noqa: PLC0415 - 30 MB that only a worker for recordings pays for

        try:
            with av.open(
                io.BytesIO(self._picture.data),
                mode="r",
                metadata_errors="ignore",
                options={"format_whitelist": FORMATS},
            ) as container:
                for piece in self._decoded(container):
                    self.duration_s += piece.size / RATE_HZ
                    yield piece
        except (av.FFmpegError, ValueError) as error:
            raise self._unreadable(error) from error
        if self.damaged and not self.duration_s:
            raise WorkerError(Code.INVALID_INPUT, f"{self._name} is damaged: nothing of it can be decoded")

    def _decoded(self, container: InputContainer) -> Iterator[Samples]:
        """Frame by frame; the resampler is made anew where a stream changes its own format half-way."""
        import av  # noqa: PLC0415 - as above

        if not container.streams.audio:
            raise WorkerError(Code.INVALID_INPUT, f"{self._name} ({self._picture.content_type}) holds no sound")
        resampler, shape = _resampler(), None
        for frame in self._frames(container):
            frame.pts = None  # a broken clock in the file is no reason to refuse it
            found = (frame.format.name, frame.layout.name, frame.sample_rate)
            if shape not in (None, found):
                yield from _samples(resampler.resample(None))
                resampler = _resampler()
            shape = found
            try:
                yield from _samples(resampler.resample(frame))
            except av.FFmpegError:
                self.damaged += 1
        if shape is not None:
            yield from _samples(resampler.resample(None))

    def _frames(self, container: InputContainer) -> Iterator[Any]:
        import av  # noqa: PLC0415 - as above

        stream = container.streams.audio[0]
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, ValueError):
                self.damaged += 1  # the container itself is cut or broken here: what came before counts
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                self.damaged += 1
                continue
            yield from frames

    def _unreadable(self, error: Exception) -> WorkerError:
        what = f"{self._name} ({self._picture.content_type}, {len(self._picture.data)} bytes)"
        reason = getattr(error, "strerror", None) or str(error)
        return WorkerError(
            Code.INVALID_INPUT, f"{what} is no recording that can be read: {reason}; send {NAMES}, whole"
        )


def _resampler() -> Any:
    import av  # noqa: PLC0415 - as above

    return av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)


def _samples(frames: list[Any]) -> Iterator[Samples]:
    """16-bit steps as floats: faster-whisper decodes so, and its models' published error rates were measured so."""
    for frame in frames:
        yield frame.to_ndarray()[0].astype(np.float32) / 32768.0
