"""Where the weights of a card are, and how they get there: found, downloaded, held to their hashes, removed.

`placed`, `missing` and `ensure` are what a worker asks; `verify` comes before every load. The layout of the models
folder is told in `folders`, which variant is taken in `fit` and `placing`.
"""

from __future__ import annotations

from registry.weights.bring import bring, remove
from registry.weights.checking import verify
from registry.weights.download import download, ensure
from registry.weights.errors import (
    DamagedWeights,
    DiskFull,
    GatedModel,
    HubRefused,
    HubUnreachable,
    MissingWeights,
    TooBig,
    UnsafeWeights,
    WeightsError,
)
from registry.weights.fit import (
    MORE_MEMORY,
    Need,
    choose_variant,
    file_bytes,
    need,
    precise_first,
    smaller_model,
    too_big,
)
from registry.weights.journal import audit, entries
from registry.weights.manifest import FileFacts, Manifest, manifest_of
from registry.weights.placing import (
    Placed,
    every_placed,
    is_gated,
    licence_page,
    local_folder,
    missing,
    needs_no_weights,
    packaged_folder,
    placed,
    require_placed,
)
from registry.weights.scan import Found, scan_hub_cache, scan_models
from registry.weights.transfer import Moved, Report

__all__ = [
    "MORE_MEMORY",
    "DamagedWeights",
    "DiskFull",
    "FileFacts",
    "Found",
    "GatedModel",
    "HubRefused",
    "HubUnreachable",
    "Manifest",
    "MissingWeights",
    "Moved",
    "Need",
    "Placed",
    "Report",
    "TooBig",
    "UnsafeWeights",
    "WeightsError",
    "audit",
    "bring",
    "choose_variant",
    "download",
    "ensure",
    "entries",
    "every_placed",
    "file_bytes",
    "is_gated",
    "licence_page",
    "local_folder",
    "manifest_of",
    "missing",
    "need",
    "needs_no_weights",
    "packaged_folder",
    "placed",
    "precise_first",
    "remove",
    "require_placed",
    "scan_hub_cache",
    "scan_models",
    "smaller_model",
    "too_big",
    "verify",
]
