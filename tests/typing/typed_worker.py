# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""A worker as users with strict type checkers write it: nothing here needs an ignore, and it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

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
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    JobEvent,
    JobFailed,
    JobGroup,
    JobGroupEvent,
    JobGroupResponse,
    JobStatus,
    LocalBus,
    WorkerActivationArgs,
    WorkerBus,
    WorkerErrorData,
    WorkerLostData,
    WorkerParams,
    WorkerReadyData,
    WorkerRegistry,
    WorkerRunner,
    WorkerStatistics,
    handles,
    job,
    open_runner,
    worker_ready,
)


@attrs.define
class Handover(WorkerActivationArgs):
    """Activation arguments of one's own."""

    topic: str | None = None


@attrs.frozen(kw_only=True)
class PriceChanged(BusDataMessage):
    """A message of one's own."""

    cents: int


class Writer(BaseWorker):
    """A handler of each kind, and every hook."""

    def __init__(self, name: str | None = None, *, active: bool = True) -> None:
        super().__init__(name, active=active)
        self.seen: list[str] = []

    async def run(self, params: WorkerParams, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold a resource around the whole life."""
        async with trio.open_nursery():
            await super().run(params, task_status=task_status)

    @job(name="draft")
    async def draft(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """A response."""
        return {"topic": message.payload.get("topic", "")}

    @job
    async def silent(self, message: BusJobRequestMessage) -> None:
        """No response."""
        if message.payload:
            raise JobFailed("wants no payload", response={"payload": message.payload})

    @job(name="later", sequential=True)
    async def later(self, message: BusJobRequestMessage) -> object:
        """A response that comes later."""
        self.send_job_update_nowait(message.job_id, {"soon": True})
        self.send_job_response_nowait(message.job_id, {"late": True}, status=JobStatus.COMPLETED)
        return DEFERRED

    @job()
    async def chapters(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """A stream."""
        for number in range(3):
            yield {"chapter": number}

    @worker_ready(name="reader")
    async def reader_is_there(self, data: WorkerReadyData) -> None:
        """Somebody is ready."""
        self.seen.append(data.worker_name)

    @handles(PriceChanged)
    async def price_changed(self, message: PriceChanged) -> None:
        """A message of one's own."""
        self.seen.append(f"{message.cents} cents")

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """A hook."""
        handover = Handover.from_dict(args or {})
        assert_type(handover, Handover)
        assert_type(handover.topic, str | None)

    async def on_deactivated(self) -> None:
        """A hook."""

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """A hook."""

    async def on_worker_lost(self, data: WorkerLostData) -> None:
        """A hook."""

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """A hook."""
        assert_type(data.exception, BaseException | None)

    async def on_job_request(self, message: BusJobRequestMessage) -> None:
        """A hook."""
        await self.send_job_stream_start(message.job_id)
        await self.send_job_stream_data(message.job_id, {"n": 1})
        await self.send_job_stream_end(message.job_id, {"n": 2})

    async def on_job_response(self, message: BusJobResponseMessage) -> None:
        """A hook."""
        assert_type(message.status, JobStatus)

    async def on_job_update(self, message: BusJobUpdateMessage) -> None:
        """A hook."""

    async def on_job_update_requested(self, message: BusJobUpdateRequestMessage) -> None:
        """A hook."""

    async def on_job_completed(self, result: JobGroupResponse) -> None:
        """A hook."""

    async def on_job_error(self, message: BusJobResponseMessage) -> None:
        """A hook."""

    async def on_job_stream_data(self, message: BusJobStreamDataMessage) -> None:
        """A hook."""

    async def on_job_cancelled(self, message: BusJobCancelMessage) -> None:
        """A hook."""

    async def on_bus_message(self, message: BusMessage) -> None:
        """A hook."""


async def ask(worker: BaseWorker | WorkerRunner) -> list[str]:
    """Every way to ask, from a worker or from plain trio code."""
    found: list[str] = []
    async with worker.job("writer", name="chapters", timeout=5) as one:
        async for event in one:
            assert_type(event, JobEvent)
            assert_type(event.data, dict[str, Any] | None)
            found.append(event.type)
    assert_type(one.response, dict[str, Any])
    assert_type(one.job_id, str)
    async with worker.job_group("writer", "reader", name="draft", payload={"topic": "trees"}, cancel_grace=1) as many:
        async for told in many:
            assert_type(told, JobGroupEvent)
            found.append(told.worker_name)
    assert_type(many.responses, dict[str, dict[str, Any]])
    assert_type(many.statuses, dict[str, JobStatus])
    assert_type(await worker.request_job("writer", name="silent"), str)
    return [*found, *many.responses]


async def ask_and_wait(worker: BaseWorker) -> JobGroupResponse:
    """A request without a block, whose record is waited for."""
    group = await worker.create_job_group_and_request_job(["writer"], name="later")
    assert_type(group, JobGroup)
    assert_type(group.is_done, bool)
    assert_type(worker.job_groups, dict[str, JobGroup])
    assert_type(worker.active_jobs, dict[str, BusJobRequestMessage])
    assert_type(await worker.request_job_group("writer", name="later"), str)
    result = await group.wait()
    assert_type(result, JobGroupResponse)
    assert_type(result.statuses, dict[str, JobStatus])
    return result


async def what_it_is(worker: Writer) -> None:
    """The properties of a worker; and that decorators leave a method as it is."""
    assert_type(worker.name, str)
    assert_type(worker.bus, WorkerBus)
    assert_type(worker.registry, WorkerRegistry)
    assert_type(worker.active, bool)
    assert_type(worker.activation_args, dict[str, Any] | None)
    assert_type(worker.parent, str | None)
    assert_type(worker.started_at, float | None)
    assert_type(worker.children, list[BaseWorker])
    assert_type(worker.statistics(), WorkerStatistics)
    message = BusJobRequestMessage(source="a", job_id="j")
    assert_type(await worker.draft(message), dict[str, Any])
    assert_type(worker.chapters(message), AsyncIterator[dict[str, Any]])
    await worker.price_changed(PriceChanged(source="a", cents=250))
    await worker.reader_is_there(WorkerReadyData("reader", "r"))


async def handlers(worker: Writer) -> str:
    """Registered handlers keep their types, too."""

    @worker.event_handler("on_worker_ready")
    async def said(worker: Writer, data: WorkerReadyData) -> str:
        await trio.lowlevel.checkpoint()
        return f"{worker.name} heard of {data.worker_name}"

    worker.add_event_handler("on_worker_ready", said)
    text = await said(worker, WorkerReadyData("x", "r"))
    assert_type(text, str)
    return text


async def main() -> list[str]:
    """Run it all."""
    bus = LocalBus(mailbox_capacity=100)
    writer, reader = Writer("writer"), Writer("reader", active=False)
    with bus.tap() as messages:
        assert_type(messages, trio.MemoryReceiveChannel[BusMessage])
        async with open_runner(writer, reader, bus=bus) as runner:
            assert_type(runner, WorkerRunner)
            await writer.activate_worker("reader", args=Handover(topic="trees"))
            await writer.send_bus_message(PriceChanged(source="writer", target="writer", cents=250))
            found = [*await ask(runner), *await ask(writer), await handlers(writer)]
            result = await ask_and_wait(writer)
            await what_it_is(writer)
    return [*found, *result.statuses, *sorted(writer.seen)]
