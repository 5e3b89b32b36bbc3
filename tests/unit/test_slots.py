"""Tasks that do one job after the other."""

from __future__ import annotations

from contextvars import ContextVar

import pytest
import trio
from support import settle

from trioworkers.jobs.slots import Pool, Slot, Slots

WHOSE: ContextVar[str] = ContextVar("whose", default="nobody's")


class Shop:
    """Slots whose jobs are words: each is written down with its task, its task's name, and the context variable."""

    def __init__(self, nursery: trio.Nursery, pool: Pool | None = None) -> None:
        self.slots: Slots[str] = Slots("idle", nursery, pool or Pool(), self.work)
        self.log: list[tuple[str, str, str]] = []
        self.tasks: list[trio.lowlevel.Task] = []
        self.gone = 0

    def do(self, job: str) -> None:
        """Take a job on."""
        self.slots.begin(self.slots.take(), job, f"does {job}")

    async def work(self, slot: Slot[str]) -> None:
        """The body of a slot."""
        try:
            with slot.scope:
                while slot.job is not None:
                    task = trio.lowlevel.current_task()
                    self.tasks.append(task)
                    self.log.append((slot.leave(), task.name, WHOSE.get()))
                    WHOSE.set("the last one's")
                    await self.slots.another(slot)
        finally:
            self.gone += 1


async def test_one_after_the_other_in_one_task() -> None:
    """A task that waits does the next job; each job finds its own name and its own context variables."""
    async with trio.open_nursery() as nursery:
        shop = Shop(nursery)
        for whose in ("mine", "yours"):
            WHOSE.set(whose)
            shop.do(f"job {whose}")
            await settle()
        assert shop.log == [("job mine", "does job mine", "mine"), ("job yours", "does job yours", "yours")]
        assert shop.tasks[0] is shop.tasks[1]
        shop.slots.close()


async def test_a_task_that_waits_keeps_nothing_of_its_job() -> None:
    """While a task waits it has the name, and the context, of one that waits."""
    async with trio.open_nursery() as nursery:
        shop = Shop(nursery)
        WHOSE.set("mine")
        shop.do("job")
        await settle()
        task = shop.tasks[0]
        assert (task.name, task.context.get(WHOSE)) == ("idle", None)
        shop.slots.close()


async def test_what_comes_together_is_done_in_tasks_of_its_own() -> None:
    """Two jobs at once have two tasks; the one that came to rest last is the first to work again."""
    async with trio.open_nursery() as nursery:
        shop = Shop(nursery)
        shop.do("one")
        shop.do("two")
        await settle()
        assert len(set(shop.tasks)) == 2
        last = shop.tasks[-1]
        shop.do("three")
        await settle()
        assert shop.tasks[-1] is last
        shop.slots.close()


async def test_closing_lets_all_go() -> None:
    """L4: when no more jobs will come, the tasks that wait end; one that comes to rest later does not wait."""
    async with trio.open_nursery() as nursery:
        shop = Shop(nursery)
        shop.do("one")
        await settle()
        shop.do("two")
        shop.do("three")
        shop.slots.close()
    assert shop.gone == 2


async def test_a_pool_keeps_so_many_and_lets_the_oldest_go() -> None:
    """A whole tree's waiting tasks are bounded: the one that has waited longest goes, whosever it is."""
    async with trio.open_nursery() as nursery:
        pool = Pool(2)
        first, second = Shop(nursery, pool), Shop(nursery, pool)
        first.do("a")
        await settle()
        second.do("b")
        second.do("c")
        await settle()
        assert (pool.waiting, first.gone, second.gone) == (2, 1, 0)
        first.slots.close()
        second.slots.close()
        assert pool.waiting == 0


@pytest.mark.parametrize("where", ["nursery", "slot"])
async def test_a_task_that_waits_can_be_cancelled(where: str) -> None:
    """L4: a task that waits goes when its nursery is cancelled, or its scope; it is not counted any more, and gets no job."""
    async with trio.open_nursery() as nursery:
        pool = Pool()
        shop = Shop(nursery, pool)
        slot: Slot[str] = shop.slots.take()
        shop.slots.begin(slot, "job", "name")
        await settle()
        (nursery.cancel_scope if where == "nursery" else slot.scope).cancel()
    assert (pool.waiting, shop.gone) == (0, 1)


async def test_a_cancel_before_the_first_step_is_not_lost() -> None:
    """J3: a job's scope is there before its task has taken a step, whether the task is new or has waited."""
    async with trio.open_nursery() as nursery:
        log: list[str] = []

        async def work(slot: Slot[str]) -> None:
            with slot.scope:
                while slot.job is not None:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    log.append(slot.leave())
                    await slots.another(slot)
            if slot.job is not None:
                log.append(f"{slot.job} was cancelled")

        slots: Slots[str] = Slots("idle", nursery, Pool(), work)
        for job, cancelled in (("new", True), ("first", False), ("second", True)):
            slot = slots.take()
            slots.begin(slot, job, job)
            if cancelled:
                slot.scope.cancel()
            await settle()
    assert log == ["new was cancelled", "first", "second was cancelled"]
