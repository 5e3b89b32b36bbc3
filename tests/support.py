"""What the tests share: workers that write down what happens to them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio
import trio.testing

from trioworkers import (
    BaseWorker,
    BusDataMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusSystemMessage,
    JobGroupResponse,
    WorkerErrorData,
    WorkerLostData,
    WorkerReadyData,
)


@attrs.frozen(kw_only=True)
class Note(BusDataMessage):
    """A data message of the tests' own."""

    text: str = ""


@attrs.frozen(kw_only=True)
class Alarm(BusSystemMessage):
    """A system message of the tests' own."""

    text: str = ""


class Recorder(BaseWorker):
    """Overrides every hook but ``on_job_request`` and ``on_bus_message``, and writes each call into ``log``."""

    def __init__(self, name: str | None = None, *, active: bool = True, log: list[Any] | None = None) -> None:
        super().__init__(name, active=active)
        self.log: list[Any] = [] if log is None else log

    def note(self, *what: Any) -> None:
        """Write something down."""
        self.log.append((self.name, *what))

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Write it down."""
        self.note("activated", args)

    async def on_deactivated(self) -> None:
        """Write it down."""
        self.note("deactivated")

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """Write it down."""
        self.note("ready", data.worker_name)

    async def on_worker_lost(self, data: WorkerLostData) -> None:
        """Write it down."""
        self.note("lost", data.worker_name)

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """Write it down."""
        self.note("failed", data.worker_name, data.error)

    async def on_job_response(self, message: BusJobResponseMessage) -> None:
        """Write it down."""
        self.note("response", message.source, message.status.value, message.response)

    async def on_job_update(self, message: BusJobUpdateMessage) -> None:
        """Write it down."""
        self.note("update", message.source, message.update)

    async def on_job_update_requested(self, message: BusJobUpdateRequestMessage) -> None:
        """Write it down."""
        self.note("update requested", message.source)

    async def on_job_completed(self, result: JobGroupResponse) -> None:
        """Write it down."""
        self.note("completed", result.responses)

    async def on_job_error(self, message: BusJobResponseMessage) -> None:
        """Write it down."""
        self.note("error", message.source, message.status.value, message.reason)

    async def on_job_stream_start(self, message: BusJobStreamStartMessage) -> None:
        """Write it down."""
        self.note("stream start", message.source, message.data)

    async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
        """Write it down."""
        self.note("stream data", message.source, message.data)

    async def on_job_stream_end(self, message: BusJobStreamEndMessage) -> None:
        """Write it down."""
        self.note("stream end", message.source, message.data)

    async def on_job_cancelled(self, message: BusJobCancelMessage) -> None:
        """Write it down."""
        self.note("job cancelled", message.reason)


class Doer(BaseWorker):
    """Answers every job by calling ``do(self, message)``."""

    def __init__(self, name: str, do: Callable[[Doer, BusJobRequestMessage], Any]) -> None:
        super().__init__(name)
        self.do = do

    async def on_job_request(self, message: BusJobRequestMessage) -> None:
        """Do it."""
        await self.do(self, message)


async def settle() -> None:
    """Wait until nothing can go on without time passing, or somebody doing something."""
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Fail, instead of hanging, after some (virtual) seconds."""
    with trio.fail_after(seconds):
        yield


class Countdown(trio.abc.Instrument):
    """Calls something when the tasks other than the one that made it have taken so many steps."""

    def __init__(self, steps: int, call: Callable[[], object]) -> None:
        self.steps = steps
        self._call = call
        self._maker = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if task is not self._maker:
            self.steps -= 1
            if not self.steps:
                self._call()


@contextmanager
def after_steps(steps: int, call: Callable[[], object]) -> Iterator[None]:
    """Call something when other tasks have taken so many steps: a moment that does not depend on their order."""
    countdown = Countdown(steps, call)
    trio.lowlevel.add_instrument(countdown)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(countdown)


class Striker(trio.abc.Instrument):
    """Sends a signal just before one step of one task."""

    def __init__(self, step: int, number: signal.Signals) -> None:
        self.left = step
        self._number = number

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count the steps."""
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(self._number)


@contextmanager
def ctrl_c() -> Iterator[None]:
    """Let SIGINT be Python's ``KeyboardInterrupt``, also if a shell runs the tests in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
