"""The same seed gives the same run: again, in another process, by another hook, beside others."""

from __future__ import annotations

import os
import random  # noqa: TID251 - which the seed decides
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trioworkers import BaseWorker, BusJobRequestMessage, job, open_runner
from trioworkers.testing import Pct, Plain, Pos, SimResult, Strategy, Uniform, simulate
from trioworkers.testing._choice import use_hook
from trioworkers.testing._gate import GateHook
from trioworkers.testing._hook import SwitchHook
from trioworkers.testing.schedule import Granularity

step = trio.lowlevel.checkpoint
KINDS: dict[str, Callable[[int], Strategy]] = {"pos": Pos, "uniform": Uniform, "pct": Pct, "plain": lambda _: Plain()}


async def everything() -> list[Any]:
    """Channels, events, timeouts, cancel scopes, a condition, a lock, a generator, randomness, callbacks; what happened, in order."""
    log: list[Any] = []
    send, receive = trio.open_memory_channel[tuple[str, int]](1)
    enough, changed, lock = trio.Event(), trio.Condition(), trio.StrictFIFOLock()

    async def produce(name: str) -> None:
        async with send.clone() as mine:
            for number in range(3):
                await trio.sleep(random.random() / 100)  # noqa: S311 - seeded
                await mine.send((name, number))

    async def consume() -> None:
        async for item in receive:
            async with lock:
                log.append(item)
                await step()
            if len(log) == 4:
                enough.set()
            async with changed:
                changed.notify_all()

    async def watch(number: int) -> None:
        with trio.move_on_after(number / 50) as scope:
            await enough.wait()
            async with changed:
                while len(log) < 9:
                    await changed.wait()
        log.append(("watch", number, scope.cancelled_caught))
        await trio.testing.wait_all_tasks_blocked()
        log.append(("idle", number))

    async def poll() -> None:
        with trio.move_on_after(0.005) as scope:
            for _ in range(20):
                await step()
                await trio.lowlevel.checkpoint_if_cancelled()
        log.append(("poll", scope.cancelled_caught, scope.cancel_called))

    async def count() -> AsyncIterator[int]:
        for number in range(3):
            await step()
            yield number

    async def cancel_within() -> None:
        trio.lowlevel.current_trio_token().run_sync_soon(log.append, "called")
        log.extend([number async for number in count()])
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.sleep_forever()
        log.append("cancelled")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        nursery.start_soon(poll)
        nursery.start_soon(cancel_within)
        for number in range(3):
            nursery.start_soon(watch, number)
        async with send, trio.open_nursery() as producers:
            for name in sorted({"a", "b"}):
                producers.start_soon(produce, name)
    return log


def whole(result: SimResult[Any]) -> list[Any]:
    """All there is to say of a run."""
    return [result.trace, result.switches, result.schedule, result.choices, result.now, result.value, repr(result.error)]


def test_a_hundred_times() -> None:
    """In one process, a seed's run is the same each time, to the last line."""
    first = whole(simulate(everything, seed=7))
    for _ in range(100):
        assert whole(simulate(everything, seed=7)) == first


def test_seeds_differ() -> None:
    """Other seeds give other runs."""
    assert len({simulate(everything, seed=seed, detail=False).footprint() for seed in range(20)}) == 20


SCRIPT = f"""
import sys
sys.path[:] = {sys.path!r}
from testing.test_determinism import everything, family, told
for seed in range(3):
    for program in (everything, family):
        print(told(program, seed))
"""


class Parrot(BaseWorker):
    """Repeats."""

    @job
    async def repeat(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A few times."""
        for number in range(3):
            yield {"number": number, "job": message.job_id}


async def family() -> list[Any]:
    """A runner and workers without names, and jobs that race."""
    parrots = [Parrot() for _ in range(3)]
    log: list[Any] = []

    async def listen(name: str) -> None:
        async with runner.job(name, name="repeat") as repeating:
            log.extend([(name, event.type, event.data) async for event in repeating])

    async with open_runner(*parrots) as runner:
        async with trio.open_nursery() as nursery:
            for parrot in parrots:
                nursery.start_soon(listen, parrot.name)
        entries = [runner.registry.get(parrot.name) for parrot in parrots]
        log.append([runner.name, *(entry and (entry.name, entry.started_at) for entry in entries)])
    return log


def test_in_every_process() -> None:
    """In fresh processes, whatever their hash seeds, a seed's run is the same: of plain trio, and of workers without names."""
    processes = [
        subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("1", "2", "random")
    ]
    said = {process.communicate()[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert said == {"".join(f"{told(program, seed)}\n" for seed in range(3) for program in (everything, family))}


def told(program: Callable[[], Any], seed: int) -> str:
    """A run as text."""
    result = simulate(program, seed=seed)
    return f"{result.unwrap()} {result.footprint()}"


@pytest.mark.parametrize("granularity", ["step", "batch"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step_cost", [0.0, 1e-4, 3e-3])
@pytest.mark.parametrize("program", [everything, family])
def test_by_both_hooks(program: Callable[[], Any], step_cost: float, kind: str, granularity: Granularity) -> None:
    """The gate, which needs public names only, gives the same run as the exact hook, to the last line."""
    run = partial(simulate, program, step_cost=step_cost, granularity=granularity)
    try:
        for seed in range(8):
            runs = []
            for hook in (SwitchHook, GateHook):
                use_hook(hook)
                runs.append(whole(run(seed=seed, strategy=KINDS[kind](seed))))
            assert runs[0] == runs[1]
    finally:
        use_hook(None)


def test_beside_others() -> None:
    """Runs on three threads at once, beside a plain one, are the same as alone."""
    alone = {seed: whole(simulate(everything, seed=seed)) for seed in range(3)}
    together: dict[int, list[Any]] = {}
    meeting = threading.Barrier(4)

    def run(seed: int) -> None:
        meeting.wait()
        together[seed] = [whole(simulate(everything, seed=seed)) for _ in range(5)]

    def run_plainly() -> None:
        meeting.wait()
        plain.extend(trio.run(everything) for _ in range(5))

    plain: list[list[Any]] = []
    threads = [threading.Thread(target=run_plainly), *(threading.Thread(target=run, args=(seed,)) for seed in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == {seed: [alone[seed]] * 5 for seed in range(3)}
    assert [len(log) for log in plain] == [len(alone[0][5])] * 5
