# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Mistakes that a type checker finds: each ignore is one, and would itself be an error if the checker found nothing."""

from __future__ import annotations

from typing import Any

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusDataMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    JobContext,
    JobGroupContext,
    LocalBus,
    WorkerBus,
    WorkerRunner,
    handles,
    job,
    worker_ready,
)


class Wrong(BaseWorker):
    """Overrides hooks, and uses decorators, in ways that cannot work."""

    @job(name=5)  # type: ignore[call-overload, untyped-decorator]
    async def named(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """A name is a str."""
        return {}

    @worker_ready()  # type: ignore[call-arg]
    async def somebody(self, data: object) -> None:
        """Whose readiness?"""

    @handles(int)  # type: ignore[arg-type]
    async def number(self, message: int) -> None:
        """An int is no message."""

    def on_deactivated(self) -> None:  # type: ignore[override]
        """Hooks are async."""

    async def on_job_request(self, message: BusJobResponseMessage) -> None:  # type: ignore[override]
        """A request is no response."""

    @job
    async def fine(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Nothing wrong here."""
        return {}


async def calls(worker: Wrong, runner: WorkerRunner, bus: LocalBus) -> None:
    """Calls that cannot work."""
    await worker.fine("message")  # type: ignore[arg-type]
    await worker.fine()  # type: ignore[call-arg]
    await worker.request_job(worker)  # type: ignore[arg-type]
    await worker.request_job("w", "name")  # type: ignore[call-arg]
    worker.job("w", payload=[1])  # type: ignore[arg-type]
    worker.job("w", timeout="5")  # type: ignore[arg-type]
    await worker.add_workers("child")  # type: ignore[arg-type]
    await worker.activate_worker("w", args={"topic": "trees"})  # type: ignore[arg-type]
    await worker.send_job_response("j", "answer")  # type: ignore[arg-type]
    await worker.send_job_response("j", status="done")  # type: ignore[arg-type]
    await runner.add_workers(runner)  # type: ignore[arg-type]
    bus.post("message")  # type: ignore[arg-type]
    worker.name = "other"  # type: ignore[misc]
    BusDataMessage("a")  # type: ignore[call-arg]
    BusJobRequestMessage(source="a")  # type: ignore[call-arg]
    BusActivateWorkerMessage(source="a", args=[1])  # type: ignore[arg-type]
    WorkerBus()  # type: ignore[abstract]


async def blocks(one: JobContext, many: JobGroupContext) -> None:
    """What comes out of a block is what it is."""
    with one:  # type: ignore[attr-defined]
        pass
    for _ in many:  # type: ignore[attr-defined]
        pass
    async for event in one:
        event.worker_name  # type: ignore[attr-defined]  # noqa: B018 - only the events of a group have that
    async for told in many:
        told.data["n"]  # type: ignore[index]


class Final(JobContext):  # type: ignore[misc]
    """Blocks are not made for subclassing."""
