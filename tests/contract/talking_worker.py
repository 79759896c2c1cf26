"""`python -m tests.contract.talking_worker DATA_DIR VISIBILITY_TIMEOUT_S`: a worker that runs `talking`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from registry.load import Registry, load
from tests.contract.talking import TALKER
from workers.app import WorkerSettings
from workers.modality import Room
from workers.process import work


def registry() -> Registry:
    return load().with_cards([TALKER])


def main() -> int:
    settings = WorkerSettings(
        redis_url=os.environ["REDIS_URL"], data_dir=Path(sys.argv[1]), visibility_timeout_s=int(sys.argv[2])
    )
    return work(
        settings, ["llm", "classify"], rooms={"llm": Room(module="tests.contract.talking")}, registry=registry()
    )


if __name__ == "__main__":
    sys.exit(main())
