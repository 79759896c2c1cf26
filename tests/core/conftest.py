"""Properties of core are about values, never about speed: a busy machine may be slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("values", deadline=None)
settings.load_profile("values")
