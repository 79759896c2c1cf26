"""How many messages a worker holds at once: one, and some to choose from while models push each other out.

Celery hands over messages in the order in which they were queued, and one queue holds messages of several models. Where
the models do not fit together a worker that sees one message at a time has to load for it; one that sees eight serves
those of the loaded models first (`turns`). Held messages are out of reach of the queue's other workers, so it is one
message as long as there is nothing to choose; two where an inference is so short that fetching the next message while
it runs counts (batches of 32 sentences: 99% instead of 90–93% of the time goes into inference).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps

ONE = 1
PAIR = 2
SEVERAL = 8  # of three models in turn it is two or three of each; more would only keep them from other workers
HANG_UP_S = 0.1  # until Redis has seen that the connection is gone


class Window:
    """`most()` is asked before each message is taken."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._closed = False
        self._channel: Any = None

    def step(self) -> type:
        """A step for Celery's consumer. It overrides the prefetch count, and only with a transport that asks before it
        takes: kombu's Redis does."""
        window = self

        class Step(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, parent: Any) -> None:
                window._watch(parent.task_consumer.channel)

        return Step

    def close(self) -> None:
        """For a process that ends at once: from now on no message is taken. One that is put back into the queue would
        otherwise be handed to this very process, whose request for the next message stands open, and be lost."""
        self._closed = True
        if self._channel is not None:
            with contextlib.suppress(Exception):  # the main thread may be using it; the process ends anyway
                self._channel.client.connection.disconnect()
            time.sleep(HANG_UP_S)

    def _watch(self, channel: Any) -> None:
        self._channel = channel
        qos = channel.qos
        within_prefetch = qos.can_consume

        def can_consume() -> bool:
            qos.prefetch_count = self._most()
            return not self._closed and bool(within_prefetch())

        qos.can_consume = can_consume
