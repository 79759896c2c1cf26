"""`scripts/make-tiny-models FOLDER [CARD …]`: writes tiny models as a models folder; downloads nothing."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

Make = Callable[[Path], None]


def models() -> Mapping[str, Make]:
    """Card id → what writes its tiny model, of every family."""
    families = [each.name for each in iter_modules([str(Path(__file__).parent)]) if not each.name.startswith("_")]
    found: dict[str, Make] = {}
    for name in families:
        found |= getattr(import_module(f"tests.tiny.{name}"), "MODELS", {})
    return found


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/make-tiny-models", description=__doc__)
    parser.add_argument("folder", type=Path, help="a models folder: each model gets a folder of its card's id")
    parser.add_argument("cards", nargs="*", help="only these cards (default: all)")
    asked = parser.parse_args()
    known = models()
    if unknown := sorted(set(asked.cards) - set(known)):
        parser.error(f"no tiny model of {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    for card in asked.cards or sorted(known):
        started = time.monotonic()
        folder = asked.folder / card
        folder.mkdir(parents=True)
        known[card](folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{card}: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
