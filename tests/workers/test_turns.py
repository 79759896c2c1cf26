"""Whose turn it is, on a clock that the test moves: loaded models first, nobody for ever last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from workers.modality import Code, WorkerError
from workers.runtime.turns import Turns


class House:
    """Turns with a clock of its own. `costs`: seconds that a model's load would take; absent models are loaded."""

    def __init__(self, **costs: float) -> None:
        self.now_s = 1000.0
        self.costs = costs
        self.turns = Turns(lambda model: self.costs.get(model, 0.0), lambda: self.now_s)
        self.served: list[str] = []
        self._go_on = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def asks(self, model: str) -> None:
        """A thread that waits for its turn and keeps it until `next_one`."""
        before = self.turns.waiting() + len(self.served)
        thread = threading.Thread(target=self._ask, args=(model,), daemon=True)
        thread.start()
        self._threads.append(thread)
        self._until(lambda: self.turns.waiting() + len(self.served) > before)

    def next_one(self) -> None:
        """The turn is given on."""
        served = len(self.served)
        self._go_on.release()
        if self.turns.waiting():
            self._until(lambda: len(self.served) > served)

    def lets_go(self) -> None:
        """The turn is given back, whoever may have it next."""
        self._go_on.release()

    def until_served(self, count: int, step_s: float = 0.0) -> None:
        """`step_s` passes on the clock between two looks."""

        def served() -> bool:
            self.now_s += step_s
            return len(self.served) == count

        self._until(served)

    def ends(self) -> None:
        self._go_on.release(100)
        self.now_s += 1000.0
        for thread in self._threads:
            thread.join(10)

    def _ask(self, model: str) -> None:
        with self.turns.take(model):
            self.served.append(model)
            self._go_on.acquire()

    @staticmethod
    def _until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@contextmanager
def house(**costs: float) -> Iterator[House]:
    with ExitStack() as stack:
        built = House(**costs)
        stack.callback(built.ends)
        yield built


def test_loaded_models_go_first_in_the_order_of_coming() -> None:
    with house(cold=1.0) as at:
        for model in ("warm", "cold", "warm", "other"):
            at.asks(model)
        for _ in range(2):
            at.next_one()
        assert at.served == ["warm", "warm", "other"]


def test_who_waited_for_two_of_its_loads_goes_before_loaded_ones() -> None:
    with house(cold=1.0) as at:
        for model in ("warm", "cold", "warm"):
            at.asks(model)
        at.now_s += 2.1
        at.next_one()
        assert at.served == ["warm", "cold"]


def test_time_that_went_into_loading_another_does_not_make_anyone_overdue() -> None:
    with house(cold=1.0) as at:
        for model in ("warm", "cold", "warm", "warm"):
            at.asks(model)
        at.now_s += 5.0
        at.turns.loaded()  # what held the turn was a load that pushed another out
        at.now_s += 1.9
        at.next_one()
        assert at.served == ["warm", "warm"]
        at.now_s += 0.2
        at.next_one()
        assert at.served == ["warm", "warm", "cold"]


def test_a_slow_load_is_waited_for_no_longer_than_three_seconds() -> None:
    with house(cold=60.0) as at:
        for model in ("warm", "cold", "warm"):
            at.asks(model)
        at.now_s += 3.1
        at.next_one()
        assert at.served == ["warm", "cold"]


def test_with_nothing_but_cold_work_a_moment_is_waited_for_warm_work() -> None:
    with house(cold=1.0) as at:
        at.asks("warm")
        at.asks("cold")
        at.lets_go()
        time.sleep(0.1)  # on the test's clock no time passes
        assert at.served == ["warm"]
        at.asks("warm")
        at.until_served(2)
        assert at.served == ["warm", "warm"]
        at.lets_go()
        at.until_served(3, step_s=0.02)
        assert at.served == ["warm", "warm", "cold"]


def test_cold_work_that_comes_to_an_idle_worker_begins_at_once() -> None:
    with house(cold=1.0) as at:
        at.asks("cold")
        assert at.served == ["cold"]


def test_a_deadline_that_passes_behind_others_is_told_and_the_turn_goes_on() -> None:
    turns = Turns(lambda model: 0.0)
    with turns.take("warm"), pytest.raises(WorkerError, match="behind work of other models") as error:  # noqa: SIM117
        with turns.take("late", time.monotonic() + 0.05):
            pass
    assert error.value.code is Code.TIMEOUT
    with turns.take("next", time.monotonic() + 5.0):
        assert turns.waiting() == 0


def test_what_may_as_well_be_done_later_is_done_when_nobody_has_the_turn() -> None:
    turns = Turns(lambda model: 0.0)
    with turns.take("warm"), turns.take_if_free() as free:
        assert not free
    with turns.take_if_free() as free:
        assert free
    with turns.take("warm"):
        pass
