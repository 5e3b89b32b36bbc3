"""Errors: they fail the worker they come from, are handed to its parent, and come out of the run as one flat group."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
from life_support import Actor, Log, Napper, Slow, ask, boom, errors_of, idle, state, states, told
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusJobRequestMessage,
    BusMessage,
    JobError,
    JobStatus,
    WorkerErrorData,
    WorkerParams,
    WorkerRunner,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState


class Broken(BaseWorker):
    """Dies where it is told to."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(name)
        self.where = where

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run beside a task that may die."""
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(super().run, params))
            task_status.started()
            self.die("run")
            await self.wait_ending()

    def die(self, where: str) -> None:
        """Die, if this is the place."""
        if where == self.where:
            raise ValueError(f"boom in {where}")

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Perhaps die."""
        self.die("on_activated")

    async def on_deactivated(self) -> None:
        """Perhaps die."""
        self.die("on_deactivated")

    async def on_bus_message(self, message: BusMessage) -> None:
        """Perhaps die."""
        if isinstance(message, Note):
            self.die("on_bus_message")

    @job(name="idle")
    async def idle(self, message: BusJobRequestMessage) -> None:
        """Never answer."""
        await trio.sleep_forever()


PLACES = ["run", "on_activated", "on_deactivated", "on_bus_message", "handler"]


async def provoke(runner: WorkerRunner, broken: Broken) -> None:
    """Make it come to the place where it dies."""
    broken.add_event_handler("on_bus_message", lambda worker, message: isinstance(message, Note) and worker.die("handler"))
    await settle()
    await runner.job("deactivator", name="go").__aenter__() if False else None


async def test_one_error_is_not_a_deaf_worker(autojump_clock: MockClock) -> None:
    """R5, U31: a worker whose hook raised is not half alive: it is gone, unregistered, and ``wait()`` returns."""
