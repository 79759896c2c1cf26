"""How long a context may be in the memory that is there; it measures nothing itself."""

from __future__ import annotations

CACHE_BYTES = 512 << 20  # for the context of all answers together, unless the model's least context needs more
LEAST_CONTEXT = 4096
CACHE_SHARE = 4  # a context may take a quarter of what memory there is
ROUND_TO = 256  # llama.cpp's own step of a context


def pool_tokens(cache_bytes: int, context: int, answers: int, available: int | None) -> int:
    """Tokens that so many answers share, where each token takes `cache_bytes`: a full context for each if that fits in
    CACHE_BYTES; less, but LEAST_CONTEXT where memory has room for it; a quarter of what is available in any case."""
    room = CACHE_BYTES if available is None else min(CACHE_BYTES, available // CACHE_SHARE)
    least = min(context, LEAST_CONTEXT) * cache_bytes
    if available is not None and least <= available // CACHE_SHARE:
        room = max(room, least)
    tokens = min(context * answers, room // cache_bytes)
    return max(ROUND_TO, tokens // ROUND_TO * ROUND_TO)
