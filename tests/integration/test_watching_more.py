"""However often a worker asks to hear of another, the registry holds one watch, and drops it in time."""

from __future__ import annotations

from typing import Any

import trio
from job_support import drain
from support import Alarm, Note, Recorder, settle

from trioworkers import BaseWorker, BusWorkerReadyMessage, WorkerErrorData, WorkerRegistry, WorkerRunner, handles, open_runner


def watches(registry: WorkerRegistry) -> dict[str, int]:
    """Return how many watches a registry holds for each name."""
    return {name: len(found) for name, found in registry._watches.items()}


async def test_a_child_that_was_asked_for_is_watched_once() -> None:
    """A name that is watched by request, and is a child's, has one watch; it stays when the child goes."""
    parent = Recorder("parent")
    async with open_runner(parent) as runner:
        await parent.watch_workers("child", "child")
        await parent.add_workers(BaseWorker("child"))
        await parent.watch_workers("child")
        assert watches(runner.registry) == {"child": 1}
        await parent.end_workers("child")
        await settle()
        assert watches(runner.registry) == {"child": 1}
        assert [entry[1:] for entry in parent.log if entry[1] != "activated"] == [("ready", "child"), ("lost", "child")]


async def test_a_child_that_is_asked_for_later_is_watched_once() -> None:
    """A child whose name is asked for when it is there has one watch all the same, and its parent hears of it once."""
    parent = Recorder("parent")
    async with open_runner(parent) as runner:
        await parent.add_workers(BaseWorker("child"))
        await parent.watch_workers("child")
        await settle()
        assert watches(runner.registry) == {"child": 1}
        assert [entry[1:] for entry in parent.log if entry[1] != "activated"] == [("ready", "child")]


async def test_the_announcement_says_what_the_registry_knows() -> None:
    """The message that announces a worker carries all that its entry in the registry says, its time of start included."""
    parent, child = BaseWorker("parent"), BaseWorker("child", active=False)
    await parent.add_workers(child)
    times = iter((5.0, 6.0))
    runner = WorkerRunner(clock=lambda: next(times))
    await runner.add_workers(parent)
    with runner.bus.tap() as messages:
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            announced = {message.source: message for message in drain(messages) if isinstance(message, BusWorkerReadyMessage)}
            entries = {name: entry for name in announced if (entry := runner.registry.get(name))}
            runner.end_nowait()
    assert {name: (m.runner, m.parent, m.active, m.bridged, m.started_at) for name, m in announced.items()} == {
        name: (runner.name, entry.parent, entry.active, entry.bridged, entry.started_at) for name, entry in entries.items()
    }
    assert {name: entry.started_at for name, entry in entries.items()} == {"child": 5.0, "parent": 6.0}


async def test_hooks_run_in_tasks_named_after_their_lane() -> None:
    """The task in which a hook runs has a stable name: the worker's own for data, else that of the lane and the worker."""
    names: dict[str, str] = {}

    class Looker(BaseWorker):
        """Writes down in which task each hook runs."""

        async def on_activated(self, args: dict[str, Any] | None) -> None:
            """Write it down."""
            names["activated"] = trio.lowlevel.current_task().name

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            """Write it down."""
            names["failed"] = trio.lowlevel.current_task().name

        @handles(Alarm)
        async def on_alarm(self, message: Alarm) -> None:
            """Write it down."""
            names["alarm"] = trio.lowlevel.current_task().name

        @handles(Note)
        async def on_note(self, message: Note) -> None:
            """Write it down."""
            names["note"] = trio.lowlevel.current_task().name

    child = BaseWorker("child")
    looker = Looker("looker")
    await looker.add_workers(child)
    async with open_runner(looker) as runner:
        for message in (Alarm(source="test", target="looker"), Note(source="test", target="looker")):
            runner.bus.post(message)
        await child.send_bus_error_message("boom")
        await settle()
    assert names == {
        "activated": "activation:looker",
        "failed": "failures:looker",
        "alarm": "system:looker",
        "note": "worker:looker",
    }
