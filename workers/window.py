"""How many messages a worker holds at once: one, and some to choose from while models push each other out.

Celery hands over messages in the order in which they were queued, and one queue holds messages of several models. Where
the models do not fit together a worker that sees one message at a time has to load for it; one that sees eight serves
those of the loaded models first (`turns`). Held messages are out of reach of the queue's other workers, so it is one
message as long as there is nothing to choose; two where an inference is so short that fetching the next message while
it runs counts (batches of 32 sentences: 99% instead of 90–93% of the time goes into inference).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import bootsteps

ONE = 1
PAIR = 2
SEVERAL = 8  # of three models in turn it is two or three of each; more would only keep them from other workers


def window_step(most: Callable[[], int]) -> type:
    """A step of Celery's consumer that asks `most()` before each message is taken. It overrides the prefetch count,
    and only with a transport that asks before it takes: kombu's Redis does."""

    class Window(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:
            qos = parent.task_consumer.channel.qos
            within_prefetch = qos.can_consume

            def can_consume() -> bool:
                qos.prefetch_count = most()
                return bool(within_prefetch())

            qos.can_consume = can_consume

    return Window
