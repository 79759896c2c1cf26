"""What can be wrong with weights, one tree; it decides nothing and names no library.

WeightsError
├── MissingWeights     weights_missing   not on this machine, and not allowed or not known how to get
├── DamagedWeights     weights_damaged   a file is not what its card, its record or its own header says
│   └── UnsafeWeights  weights_unsafe    a name that leaves its folder, or a format that runs code when read
├── TooBig             too_big           no variant fits this machine's memory
├── DiskFull           disk_full         the disk cannot hold the download
├── GatedModel         model_gated       a licence must be accepted first; the text names the page
├── HubRefused         hub_refused       the hub has no such repository, revision or file, or says no
└── HubUnreachable     hub_unreachable   the hub did not answer well, however often it was asked
"""

from __future__ import annotations

from typing import ClassVar


class WeightsError(Exception):
    """Root. The text says what was wrong, with which value, and what to do next; `code` is stable."""

    code: ClassVar[str] = "weights"


class MissingWeights(WeightsError):
    code = "weights_missing"


class DamagedWeights(WeightsError):
    """A file of weights is not the file that its card names; the text says which and what to do."""

    code = "weights_damaged"


class UnsafeWeights(DamagedWeights):
    code = "weights_unsafe"


class TooBig(WeightsError):
    """`required_bytes` and `available_bytes` of memory; `smaller` is the id of a model to try, if there is one."""

    code = "too_big"

    def __init__(self, message: str, *, required_bytes: int, available_bytes: int, smaller: str | None = None) -> None:
        super().__init__(message)
        self.required_bytes = required_bytes
        self.available_bytes = available_bytes
        self.smaller = smaller


class DiskFull(WeightsError):
    """`required_bytes` and `available_bytes` of disk."""

    code = "disk_full"

    def __init__(self, message: str, *, required_bytes: int, available_bytes: int) -> None:
        super().__init__(message)
        self.required_bytes = required_bytes
        self.available_bytes = available_bytes


class GatedModel(WeightsError):
    """`page` is where the licence is accepted."""

    code = "model_gated"

    def __init__(self, message: str, *, page: str) -> None:
        super().__init__(message)
        self.page = page


class HubRefused(WeightsError):
    code = "hub_refused"


class HubUnreachable(WeightsError):
    code = "hub_unreachable"
