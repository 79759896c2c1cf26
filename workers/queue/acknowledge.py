"""What a worker does when it cannot tell Redis that a message is done; runs no task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from celery.worker.request import Request


class StrictRequest(Request):  # type: ignore[misc] # Celery has no types
    """A failed acknowledgement is a lost connection: the worker connects anew.

    Celery logs it and goes on. With one message at a time (prefetch 1) that message then stays counted as in work,
    so after a restart of Redis the worker would never take another one, and still announce that it is well. Its
    message is delivered once more; its batch is answered already, so the second run finds nothing to do.
    """

    def __init__(self, message: Any, on_ack: Any = None, **options: Any) -> None:
        on_ack.args = (partial(_acknowledge, message),)  # a promise to run this soon in the loop, which hears errors
        super().__init__(message, on_ack=on_ack, **options)


def _acknowledge(message: Any, logger: object, errors: Sequence[type[Exception]]) -> None:
    message.ack()
