"""Asking in the name of a worker that is not running yet: what is asked for is part of its life all the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from life_support import Log, Napper, ask

from trioworkers import BaseWorker, JobError, WorkerRunner
from trioworkers.testing import Strand, Strategy, World


class Holding(Strategy):
    """Lets one task have no step for as long as another can have one."""

    def __init__(self, label: str) -> None:
        self.label = label

    def choose(self, runnable: Sequence[Strand], default: int, *, preempts: bool) -> int:
        """Anyone else."""
        return next(place for place, strand in enumerate(runnable) if strand.label != self.label)


def test_a_worker_stopped_before_its_first_step_waits_for_what_was_asked() -> None:
    """J2, J7: a worker that is stopped before its task has run is not finished before what was asked in its name is over."""
    log: Log = []
    runner = WorkerRunner()
    asker, napper = BaseWorker("asker"), Napper("napper", log)
    outcome: list[object] = []

    async def client() -> None:
        try:
            await ask(asker, "napper", "nap", seconds=60)
        except Exception as error:
            outcome.append((type(error).__name__, dict(asker.job_groups), log[-1][1]))

    with World(strategy=Holding("worker:asker")) as world:
        world.run(runner.add_workers, asker, napper)
        running = world.spawn(runner.run)
        world.spawn(client)
        while not asker.job_groups:
            assert world.steps(1)
        assert "asker" not in runner.registry
        world.spawn(asker.stop)
        world.settle()
        assert (asker.statistics().state, outcome) == ("cancelling", [])
        world.advance(1)  # which the handler takes to tidy up
        assert (asker.statistics().state, outcome) == ("finished", [("JobError", {}, "tidied up")])
        runner.cancel_nowait()
        world.finish(running)


def test_nobody_waits_for_what_a_worker_asked_that_never_started() -> None:
    """J7: a worker that never started is over at once when it is stopped; what it asked for is cancelled, and not waited for."""
    log: Log = []
    asker = BaseWorker("asker")
    runner = WorkerRunner()
    with World() as world:
        world.run(runner.add_workers, Napper("napper", log))
        running = world.spawn(runner.run)
        world.settle()
        world.run(partial(asker.attach, registry=runner.registry, bus=runner.bus))
        early = world.spawn(ask, asker, "napper", "nap")
        world.settle()
        assert log == [("napper", "begins")]
        world.run(asker.stop)
        world.settle()
        assert isinstance(early.error, JobError)
        assert (asker.statistics().state, asker.statistics().asking.left_behind) == ("finished", 1)
        world.advance(1)
        assert log[1:] == [("napper", "tidied up", 1.0)]
        runner.cancel_nowait()
        world.finish(running)
