"""Jobs that cross from one runner to another."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from memory_bus import MemoryBus, Server, no_server

from trioworkers import BaseWorker, BusResetError, JobError, PeerDownError, job, open_runner


class Adder(BaseWorker):
    """Adds."""

    @job
    async def add(self, message: Any) -> dict[str, Any]:
        """Add."""
        return {"sum": sum(message.payload["numbers"])}

    @job
    async def count(self, message: Any) -> Any:
        """Count."""
        for n in range(message.payload["to"]):
            yield {"n": n}

    @job
    async def sleep(self, message: Any) -> None:
        """Sleep for ever."""
        await trio.sleep_forever()


async def test_a_job_is_done_elsewhere(autojump_clock: trio.testing.MockClock) -> None:
    """N6, U9: a job asked for in one runner is done in another, which it finds by the worker's name."""
    server = Server()
    async with (
        open_runner(Adder("adder"), bus=MemoryBus(server), name="right"),
        open_runner(bus=MemoryBus(server), name="left") as left,
    ):
        async with left.job("adder", name="add", payload={"numbers": [1, 2]}, timeout=5) as adding:
            pass
        assert adding.response == {"sum": 3}


async def test_a_stream_comes_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """N1: the chunks of a stream come in order, all of them, with credit."""
    server = Server()
    async with (
        open_runner(Adder("adder"), bus=MemoryBus(server), name="right"),
        open_runner(bus=MemoryBus(server), name="left") as left,
    ):
        async with left.job("adder", name="count", payload={"to": 1000}) as counting:
            seen = [event.data["n"] async for event in counting if event.data]
        assert seen == list(range(1000))


async def test_cancel(autojump_clock: trio.testing.MockClock) -> None:
    """N2: a job that takes too long is cancelled there."""
    server = Server()
    adder = Adder("adder")
    async with (
        open_runner(adder, bus=MemoryBus(server), name="right"),
        open_runner(bus=MemoryBus(server), name="left") as left,
    ):
        with pytest.raises(JobError, match="timeout"):
            async with left.job("adder", name="sleep", timeout=5):
                pass
        assert not adder.active_jobs


async def test_peer_down(autojump_clock: trio.testing.MockClock) -> None:
    """N2, U9, U11: a runner that crashes is found out, and who waits for it is told."""
    server = Server()
    bus = MemoryBus(server)
    async with open_runner(bus=MemoryBus(server), name="left") as left, trio.open_nursery() as nursery:

        async def right() -> None:
            async with open_runner(Adder("adder"), bus=bus, name="right"):
                await trio.sleep_forever()

        nursery.start_soon(right)
        start = trio.current_time()
        with pytest.raises(PeerDownError, match="runner 'right'"):
            async with left.job("adder", name="sleep"):
                bus.way.cut()
        assert trio.current_time() - start < 7
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("keep", [True, False])
async def test_outage(keep: bool, autojump_clock: trio.testing.MockClock) -> None:
    """N2, N5, U10, U57: an outage of the server is survived, or told."""
    server = Server()
    async with (
        open_runner(Adder("adder"), bus=MemoryBus(server), name="right"),
        open_runner(bus=MemoryBus(server), name="left") as left,
    ):
        await left.registry.wait_ready("adder")
        if keep:
            async with left.job("adder", name="add", payload={"numbers": [1, 2]}) as adding:
                with no_server(server, keep=keep):
                    await trio.sleep(10)
            assert adding.response == {"sum": 3}
        else:
            with pytest.raises(BusResetError):
                async with left.job("adder", name="add", payload={"numbers": [1, 2]}):
                    with no_server(server, keep=keep):
                        await trio.sleep(10)
            async with left.job("adder", name="add", payload={"numbers": [1, 2]}) as adding:
                pass
            assert adding.response == {"sum": 3}
