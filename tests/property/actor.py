"""Workers that do what they are told by the jobs, messages and activations they get, and tell the model all that they see.

What a handler or a hook is to do travels in the data (``{"do": "raise", ...}``), so that one class plays every part, and the printed
operations of a failing example say all there is to know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioworkers import (
    DEFERRED,
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
    BusMessage,
    BusSystemMessage,
    DuplicateWorkerError,
    FamilyError,
    JobError,
    JobFailed,
    JobGroupError,
    JobGroupResponse,
    UnknownWorkerError,
    WorkerErrorData,
    WorkerLostData,
    WorkerParams,
    WorkerReadyData,
    WorkerStartError,
    WorkerStateError,
    handles,
    job,
)

if TYPE_CHECKING:
    from property.house import House


class PlantedError(Exception):
    """Raised on purpose: to crash a hook, a run, a handler, a body."""


@attrs.frozen(kw_only=True)
class Letter(BusDataMessage):
    """A plain data message; what its reader's hook is to do."""

    number: int
    do: str = ""
    nap: float = 0.0
    to: str = ""


@attrs.frozen(kw_only=True)
class Bell(BusSystemMessage):
    """The same with system priority."""

    number: int
    do: str = ""
    nap: float = 0.0
    to: str = ""


class Actor(BaseWorker):
    """Overrides all hooks but ``on_job_request`` and ``on_bus_message``.

    Args:
        name: Its name.
        house: Where it lives, and who writes down what it sees.
        active: Whether it is active from the start.
        start: How its start goes: ``"nap"`` takes a second, ``"raise"`` fails, anything else works.
        fused: Whether it can be crashed from outside its hooks, by ``blow``.
    """

    def __init__(self, name: str, house: House, *, active: bool = True, start: str = "", fused: bool = False) -> None:
        super().__init__(name, active=active)
        self.house = house
        self.model = house.model
        self.script = start
        self.fused = fused
        self.fuse = trio.Event()
        self.record = self.model.worker(self)

    # -- its life ----------------------------------------------------------------------------------------------------------

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Live, with a fuse burning beside it if it has one."""
        self.model.run_begins(self)
        try:
            if self.fused:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._burn)
                    await self._serve(params, task_status)
                    nursery.cancel_scope.cancel()
            else:
                await self._serve(params, task_status)
        finally:
            self.model.run_is_over(self)

    async def _serve(self, params: WorkerParams, task_status: trio.TaskStatus[None]) -> None:
        try:
            await super().run(params, task_status=task_status)
        finally:
            self.record.served = True

    async def _burn(self) -> None:
        await self.fuse.wait()
        raise self.model.planted(self, "run")

    async def start(self) -> None:
        """Be ready, at once, later, or never."""
        if self.script == "nap":
            await trio.sleep(1)
        if self.script == "raise":
            raise self.model.planted(self, "start")
        await super().start()

    # -- jobs it does ------------------------------------------------------------------------------------------------------

    @job
    async def work(self, message: BusJobRequestMessage) -> Any:
        """Any number at once."""
        with self.model.performing(self, message):
            return await self.perform(message)

    @job(sequential=True)
    async def queue(self, message: BusJobRequestMessage) -> Any:
        """One at a time."""
        with self.model.performing(self, message):
            return await self.perform(message)

    @job
    async def stream(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A generator."""
        with self.model.performing(self, message):
            payload = message.payload or {}
            for number in range(payload["n"]):
                yield {"i": number, "nap": payload["nap"] if payload["do"] == "drowsy" else 0.0}
            await self.perform(message)

    @job(sequential=True)
    async def strand(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """One generator at a time."""
        with self.model.performing(self, message):
            for number in range((message.payload or {})["n"]):
                yield {"i": number}

    async def perform(self, message: BusJobRequestMessage) -> Any:  # noqa: PLR0911 - a table
        """Do what the payload says."""
        payload = message.payload or {}
        match payload["do"]:
            case "raise":
                await trio.sleep(payload["nap"])
                raise PlantedError("in a handler")
            case "fail":
                raise JobFailed("as planned", {"k": payload["k"]})
            case "junk":
                return 5
            case "none":
                return None
            case "defer":
                self.model.deferred.append((self, message.job_id))
                return DEFERRED
            case "forever":
                await trio.sleep_forever()
            case "swallow":
                try:
                    await trio.sleep(payload["nap"] or 1.0)
                except trio.Cancelled:
                    return {"k": payload["k"], "swallowed": True}
            case "slow":
                try:
                    await trio.sleep(payload["nap"] or 1.0)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.5)
            case "updates":
                for number in range(payload["n"]):
                    urgent = number % 3 == 2
                    await self.send_job_update(message.job_id, {"i": number, "nap": payload["nap"], "urgent": urgent}, urgent=urgent)
            case "burst":
                self.burst(message)
            case "early" | "early raise":
                self.model.answers(message.job_id, self.name)
                self.send_job_response_nowait(message.job_id, {"k": payload["k"]})
                await trio.sleep(payload["nap"] or 1.0)
                if payload["do"] == "early raise":
                    raise self.model.planted(self, "a handler that had answered")
                return None
            case "nested":
                return await self.house.ask_inside(self, payload)
            case _:
                await trio.sleep(payload["nap"])
        return {"k": payload["k"]}

    def burst(self, message: BusJobRequestMessage) -> None:
        """Send updates until there is no credit."""
        for number in range(1000):
            try:
                self.send_job_update_nowait(message.job_id, {"i": number, "nap": 0.0})
            except trio.WouldBlock:
                return

    # -- what it hears -----------------------------------------------------------------------------------------------------

    async def react(self, message: Letter | Bell) -> None:
        """Do what a message says."""
        match message.do:
            case "nap":
                await trio.sleep(message.nap)
            case "raise":
                raise self.model.planted(self, "hook")
            case "ask":
                await self.house.ask_in_hook(self, message)
            case "stop":
                await self.stop()
            case "end":
                await self.end(reason="asked in a hook")
            case "end children":
                with suppress(UnknownWorkerError):  # one may be gone by then
                    await self.end_workers(*(child.name for child in self.children))
            case "report":
                await self.send_bus_error_message("something is wrong")

    @handles(Letter)
    async def on_letter(self, message: Letter) -> None:
        """Read it."""
        with self.model.hook(self, "on_letter", message):
            await self.react(message)

    @handles(Bell)
    async def on_bell(self, message: Bell) -> None:
        """Hear it."""
        with self.model.hook(self, "on_bell", message):
            await self.react(message)

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Stay for a while, or until the end."""
        with self.model.hook(self, "on_activated", args):
            match (args or {}).get("metadata", {}).get("do", ""):
                case "nap":
                    await trio.sleep(1)
                case "stay":
                    await self.wait_ending()
                case "raise":
                    raise self.model.planted(self, "hook")

    async def on_deactivated(self) -> None:
        """Write it down."""
        with self.model.hook(self, "on_deactivated", None):
            await trio.lowlevel.checkpoint()

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """Write it down."""
        with self.model.hook(self, "on_worker_ready", data):
            await trio.lowlevel.checkpoint()

    async def on_worker_lost(self, data: WorkerLostData) -> None:
        """Write it down."""
        with self.model.hook(self, "on_worker_lost", data):
            await trio.lowlevel.checkpoint()

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """Write it down."""
        with self.model.hook(self, "on_worker_failed", data):
            await trio.lowlevel.checkpoint()

    # -- jobs it asked for -------------------------------------------------------------------------------------------------

    async def on_job_response(self, message: BusJobResponseMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_response", message):
            await trio.lowlevel.checkpoint()

    async def on_job_update(self, message: BusJobUpdateMessage) -> None:
        """Take as long as the update says."""
        with self.model.hook(self, "on_job_update", message):
            await trio.sleep((message.update or {})["nap"])

    async def on_job_update_requested(self, message: BusJobUpdateRequestMessage) -> None:
        """Give news at once, as one would."""
        with self.model.hook(self, "on_job_update_requested", message):
            self.send_job_update_nowait(message.job_id, {"i": -1, "nap": 0.0, "urgent": True}, urgent=True)
            await trio.lowlevel.checkpoint()

    async def on_job_completed(self, result: JobGroupResponse) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_completed", result):
            await trio.lowlevel.checkpoint()

    async def on_job_error(self, message: BusJobResponseMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_error", message):
            await trio.lowlevel.checkpoint()

    async def on_job_stream_start(self, message: BusJobStreamStartMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_stream_start", message):
            await trio.lowlevel.checkpoint()

    async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
        """Take as long as the chunk says."""
        with self.model.hook(self, "on_job_stream_data", message):
            await trio.sleep((message.data or {}).get("nap", 0.0))

    async def on_job_stream_end(self, message: BusJobStreamEndMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_stream_end", message):
            await trio.lowlevel.checkpoint()

    async def on_job_cancelled(self, message: BusJobCancelMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_job_cancelled", message):
            await trio.lowlevel.checkpoint()


class Listener(Actor):
    """Overrides those two as well: does jobs that have no handler, and sees every message."""

    async def on_job_request(self, message: BusJobRequestMessage) -> None:
        """Do it, by the verbs."""
        payload = message.payload or {}
        with self.model.performing(self, message):
            if payload["do"] == "updates":
                await self.send_job_stream_start(message.job_id)
                for number in range(payload["n"]):
                    await self.send_job_stream_data(message.job_id, {"i": number})
                self.model.answers(message.job_id, self.name)
                await self.send_job_stream_end(message.job_id, {"k": payload["k"]})
                return
            result = await self.perform(message)
            if isinstance(result, dict):
                self.model.answers(message.job_id, self.name)
                await self.send_job_response(message.job_id, result)

    async def on_bus_message(self, message: BusMessage) -> None:
        """Write it down."""
        with self.model.hook(self, "on_bus_message", message):
            await trio.lowlevel.checkpoint()


EXPECTED = (
    JobError,
    JobGroupError,
    DuplicateWorkerError,
    FamilyError,
    UnknownWorkerError,
    WorkerStartError,
    WorkerStateError,
    PlantedError,
)
"""What may come out of a call that met with misfortune."""
