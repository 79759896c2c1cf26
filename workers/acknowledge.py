"""How a worker tells Redis that a message is done, when Redis was away at that moment; runs no task."""

from __future__ import annotations

import logging
import time

from celery.worker import state
from celery.worker.request import Request

log = logging.getLogger(__name__)

# A restarted Redis is back within a second or two; after half a minute a new process is the better start.
WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class PatientRequest(Request):  # type: ignore[misc] # Celery has no types
    """Acknowledges until it succeeds.

    Celery logs a failed acknowledgement and goes on. With one message at a time (prefetch 1) that message
    stays counted as in work, so the worker would never take another one and still announce that it is well.
    """

    acknowledged: bool

    def acknowledge(self) -> None:
        if self.acknowledged:
            return
        for wait_s in WAITS_S:
            try:
                self._message.ack()
            except self._connection_errors as error:
                log.warning("cannot acknowledge a finished task yet: %s", error)
                time.sleep(wait_s)
            else:
                self.acknowledged = True
                return
        log.error("the queue stays away; this worker ends, so that a fresh one takes its place")
        state.should_stop = 1
        self.acknowledged = True
