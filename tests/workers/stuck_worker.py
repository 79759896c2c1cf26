"""A worker process on the modality of tests: `python -m tests.workers.stuck_worker REDIS_URL FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from registry.load import load
from tests.workers.test_runtime import card
from workers.app import WorkerSettings
from workers.modality import Room
from workers.process import work

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    settings = WorkerSettings(redis_url=url, data_dir=Path(folder), visibility_timeout_s=3600, max_models=1)
    cards = load().with_cards([card("first"), card("second")])
    rooms = {"sentiment": Room(module="tests.workers.counting")}
    sys.exit(work(settings, ["sentiment"], rooms=rooms, registry=cards))
