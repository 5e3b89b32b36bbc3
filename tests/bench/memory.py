"""What things take and leave behind: bytes, objects, the time of an import; this library's side, and bare trio's."""

from __future__ import annotations

import trio
import trio.testing
from bench.harness import FLOOR, OURS, Case, Meter, side
from bench.jobs import Helper, ask
from bench.lives import Countdown, live
from bench.memory_meter import counting, import_time, weighing

from trioworkers import BaseWorker, open_runner

CASES = (
    Case("idle", "memory of an idle worker, of {size}", 200, rounds=2),
    Case("pending", "memory of a running job, of {size}", 200, rounds=2),
    Case("leftovers", "after {size} jobs", 10_000, rounds=1, quick=False),
    Case("import", "the import", rounds=5),
)


@side(OURS, "idle")
async def ours_idle(meter: Meter, size: int, times: int) -> None:
    """Workers that were added and wait."""
    async with open_runner(BaseWorker("first")) as runner:
        with weighing(meter, "each", size):
            await runner.add_workers(*(BaseWorker(f"worker-{n}") for n in range(size)))


@side(FLOOR, "idle")
async def floor_idle(meter: Meter, size: int, times: int) -> None:
    """Tasks with a nursery each."""
    ready = Countdown(size)
    async with trio.open_nursery() as nursery:
        with weighing(meter, "each", size):
            for _ in range(size):
                nursery.start_soon(live, ready)
            await ready.over.wait()
        nursery.cancel_scope.cancel()


@side(OURS, "pending")
async def ours_pending(meter: Meter, size: int, times: int) -> None:
    """Jobs whose handler waits, as both ends hold them."""
    asker, helper = BaseWorker("asker"), Helper("helper")
    async with open_runner(asker, helper) as runner:
        await ask(asker, 1)
        with weighing(meter, "each", size):
            for _ in range(size):
                await asker.request_job("helper", name="sleep")
            await helper.until(running=size)
        runner.cancel_nowait()


@side(FLOOR, "pending")
async def floor_pending(meter: Meter, size: int, times: int) -> None:
    """A task, a scope and a channel for each."""

    async def sleep(reply: trio.MemorySendChannel[int]) -> None:
        with trio.CancelScope():
            await trio.sleep_forever()
        await reply.send(1)

    async with trio.open_nursery() as nursery:
        held = []
        with weighing(meter, "each", size):
            for _ in range(size):
                send, receive = trio.open_memory_channel[int](1)
                held.append(receive)
                nursery.start_soon(sleep, send)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@side(OURS, "leftovers")
async def ours_leftovers(meter: Meter, size: int, times: int) -> None:
    """What is still there when all have been answered."""
    asker = BaseWorker("asker")
    async with open_runner(asker, Helper("helper")):
        await ask(asker, 100)
        with counting(meter, "objects left"):
            await ask(asker, size)


@side(OURS, "import")
def ours_import(meter: Meter, size: int, times: int) -> None:
    """The library, with what it needs."""
    import_time(meter, "import trioworkers")


@side(FLOOR, "import")
def floor_import(meter: Meter, size: int, times: int) -> None:
    """What it needs."""
    import_time(meter, "import trio, attrs, cattrs")
