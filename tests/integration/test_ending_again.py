"""Ends that meet: a child that drains already when its parent ends, and ends that come twice."""

from __future__ import annotations

import pytest
import trio
from job_support import Log
from life_support import Napper, Slow, ask, own_tasks, state
from support import settle, within
from trio.testing import MockClock

from trioworkers import BaseWorker, BusEndWorkerMessage, BusJobRequestMessage, WorkerRunner, job, open_runner
from trioworkers._transitions import WorkerState


def end(runner: WorkerRunner, *names: str) -> None:
    """Tell workers to end, and do not wait."""
    for name in names:
        runner.bus.post(BusEndWorkerMessage(source="test", target=name, reason="enough"))


@pytest.mark.parametrize(
    "ends",
    [("child", "parent", "child"), ("parent", "child"), ("parent", "child", "parent", "child"), ("child", "child", "parent")],
)
async def test_ends_that_meet_wait_for_what_is_left_to_do_once(ends: tuple[str, ...], autojump_clock: MockClock) -> None:
    """L6: in whatever order, and however often, a child and its parent are ended: they are over when the work is, and not later."""
    parent, child = BaseWorker("parent"), Napper("child")
    await parent.add_workers(child)
    async with open_runner(parent, shutdown_timeout=100) as runner, within(50):
        await runner.request_job("child", name="nap", payload={"seconds": 5})
        await settle()
        end(runner, *ends)
        await parent.wait()
        assert (trio.current_time(), child.log[-1]) == (5, ("child", "wakes", 5))


class Caller(BaseWorker):
    """Asks the one called ``needed``, after a second."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(name)
        self.log = log

    @job(name="call")
    async def call(self, message: BusJobRequestMessage) -> None:
        """Do that."""
        await trio.sleep(1)
        await ask(self, "needed", "nap", seconds=1)
        self.log.append((self.name, trio.current_time()))


async def test_ends_that_meet_admit_what_either_has_begun(autojump_clock: MockClock) -> None:
    """L6: what is asked inside a job of the parent, or of the child that had begun to end before it, is still answered."""
    log: Log = []
    parent, child = Caller("parent", log), Caller("child", log)
    await parent.add_workers(child, Napper("needed"))
    async with open_runner(parent) as runner, within(50):
        for name in ("parent", "child"):
            await runner.request_job(name, name="call")
        await settle()
        end(runner, "child", "parent")
        await parent.wait()
    assert sorted(log) == [("child", 2), ("parent", 2)]


async def test_the_tasks_of_an_end_are_named_after_it(autojump_clock: MockClock) -> None:
    """The one task that winds a subtree down, and those that finish the children, are named after the workers that end."""
    parent, child = Napper("parent"), Slow("child", down=2)
    await child.add_workers(Slow("grandchild", down=2))
    await parent.add_workers(child)

    def ends() -> set[str]:
        return {name for name in own_tasks() if name.startswith("end:") or "." in name}

    async with open_runner(parent) as runner, within(50):
        await runner.request_job("parent", name="nap", payload={"seconds": 5})
        await settle()
        before = ends()
        end(runner, "parent")
        await settle()
        assert ends() - before == {"end:parent"}
        await trio.sleep(6)
        assert ends() - before == {"end:parent", "end:child"}
        await parent.wait()
        assert ends() - before == set()


async def test_children_taken_in_after_the_end_was_asked_for_end_too(autojump_clock: MockClock) -> None:
    """L6: a worker told to end before it is ready may still take children in: they end with it, by themselves, and not by force."""
    log: Log = []

    class Late(BaseWorker):
        """Takes a child in when it has been told to end."""

        async def start(self) -> None:
            """Wait for the end, then do that."""
            await self.wait_ending()
            await self.add_workers(Slow("child", down=1, log=log))
            await super().start()

    late = Late("late")
    async with open_runner(shutdown_timeout=100) as runner, within(50), trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, late)
        await settle()
        end(runner, "late")
        await late.wait()
        assert (trio.current_time(), log, state(late)) == (1, [("child", "gone", 1)], WorkerState.FINISHED)
