"""Where a worker is in its one life, and the reason it leaves with."""

from __future__ import annotations

import pytest

from trioworkers._transitions import WorkerState
from trioworkers.worker.ending import Ending
from trioworkers.worker.lifecycle import Lifecycle


def running() -> Lifecycle:
    """Return one that is ready."""
    lifecycle = Lifecycle("w")
    lifecycle.attach()
    lifecycle.start()
    lifecycle.ready()
    return lifecycle


@pytest.mark.parametrize(
    ("end", "cancel", "reason"),
    [(None, None, "cancelled"), ("enough", None, "enough"), (None, "stop", "stop"), ("enough", "stop", "stop")],
)
async def test_a_cancel_keeps_the_best_reason(end: str | None, cancel: str | None, reason: str) -> None:
    """A cancel's own reason counts; without one that of the end before it; without that there is a word for it."""
    lifecycle = running()
    if end is not None:
        assert lifecycle.remember_end(Ending(end, 5.0))
    assert lifecycle.cancel(cancel)
    assert (lifecycle.reason, lifecycle.state, lifecycle.scope.cancel_called) == (reason, WorkerState.CANCELLING, True)


async def test_a_second_cancel_is_no_news() -> None:
    """The first cancel's reason stays; the second is no news, and nor is an end after it."""
    lifecycle = running()
    assert lifecycle.cancel("first")
    assert not lifecycle.cancel("second")
    assert not lifecycle.remember_end(Ending("third", 5.0))
    assert (lifecycle.reason, lifecycle.ending) == ("first", None)


async def test_an_error_is_told_once() -> None:
    """An error that is handed over twice, by whatever way, is told once, in the order in which errors came."""
    lifecycle = running()
    first, second = ValueError("boom"), ValueError("boom")
    lifecycle.fail([first], "it failed")
    lifecycle.fail([second, first], "it failed again")
    assert [id(error) for error in lifecycle.errors] == [id(first), id(second)]
    lifecycle.finish()
    assert (lifecycle.state, lifecycle.reason) == (WorkerState.FAILED, "it failed")
