"""What the guide promises of a bus over Redis, over a real server."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from redis_support import PATIENCE, Proxy, RedisServer, open_proxy, until

from trioworkers import (
    BaseWorker,
    BusDataMessage,
    BusResetError,
    DuplicateWorkerError,
    JobError,
    JobStatus,
    MessageTooLargeError,
    Observer,
    PeerDownError,
    RedisBus,
    RedisSettings,
    RemoteBusStatistics,
    WireError,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers.wire import Codec

BEAT, TTL = 0.1, 1.0


@attrs.frozen(kw_only=True)
class Number(BusDataMessage):
    """A message of our own."""

    value: int


class Stock(BaseWorker):
    """Counts, sleeps, and takes numbers."""

    def __init__(self, name: str = "stock") -> None:
        super().__init__(name)
        self.numbers: list[int] = []
        self.cancelled: list[str | None] = []
        self.asleep = trio.Event()
        self.open = trio.Event()

    @job
    async def count(self, message: Any) -> Any:
        """Count."""
        for number in range(message.payload["to"]):
            yield {"number": number}

    @job
    async def sleep(self, message: Any) -> None:
        """Sleep for ever."""
        self.asleep.set()
        await trio.sleep_forever()

    @job
    async def answer(self, message: Any) -> Any:
        """Answer with what cannot be sent."""
        return {"set": {1}} if message.payload["how"] == "badly" else {"text": "x" * 20_000}

    async def on_job_cancelled(self, message: Any) -> None:
        """Note why."""
        self.cancelled.append(message.reason)

    @handles(Number)
    async def number(self, message: Number) -> None:
        """Take a number, when there is time for it."""
        await self.open.wait()
        self.numbers.append(message.value)


class Diary(Observer):
    """What is said of the bus and of other runners."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def bus_connected(self, incarnation: str, /) -> None:
        """The bus is there."""
        self.lines.append("connected")

    def bus_disconnected(self, reason: str, /) -> None:
        """It is not."""
        self.lines.append("disconnected")

    def peer_joined(self, incarnation: str, /) -> None:
        """Somebody is there."""
        self.lines.append(f"joined {incarnation.partition('.')[0].partition('-')[0]}")

    def peer_lost(self, incarnation: str, reason: str, /) -> None:
        """Somebody is gone."""
        self.lines.append(f"lost {incarnation.partition('.')[0].partition('-')[0]}")


def bus(settings: RedisSettings, **options: Any) -> RedisBus:
    """Return a bus that is quick to find out."""
    return RedisBus(settings, **{"name": "shop", "beat": BEAT, "ttl": TTL, "types": {"number": Number}, **options})


def statistics(runner: WorkerRunner) -> RemoteBusStatistics:
    """Return what a runner's bus says of itself."""
    found = runner.bus.statistics()
    assert isinstance(found, RemoteBusStatistics)
    return found


async def numbers_of(runner: WorkerRunner, to: int, *, meanwhile: Any = None) -> list[int]:
    """Ask the stock to count; do something when it has begun."""
    seen: list[int] = []
    async with runner.job("stock", name="count", payload={"to": to}) as counting:
        async for event in counting:
            if event.data is not None:
                seen.append(event.data["number"])
            if len(seen) == 100 and meanwhile is not None:
                await meanwhile()
                meanwhile = None
    return seen


def cut(proxy: Proxy) -> None:
    """Let nobody through any more, and close nothing."""
    proxy.closed = True
    for link in list(proxy.links):
        link.swallow()


def cut_off(folder: Path, size: int) -> None:
    """Take so many bytes from the end of the server's journal."""
    (journal,) = folder.rglob("*.aof")
    os.truncate(journal, journal.stat().st_size - size)


# -- what goes over the wire ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_restart_with_data_costs_nothing(tmp_path: Path, fsync: str) -> None:
    """N1, N5, U10, U57: when the server is killed and comes back with its data, a stream goes on: every chunk once, in order."""
    diary = Diary()
    async with (
        RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", fsync) as server,
        open_runner(Stock(), bus=bus(server.settings), name="cellar"),
        open_runner(bus=bus(server.settings), name="attic", observers=[diary]) as attic,
    ):
        with trio.fail_after(PATIENCE):
            assert await numbers_of(attic, 2000, meanwhile=server.restart) == list(range(2000))
        assert statistics(attic).resets == 0
    assert [line for line in diary.lines if "connected" in line][:3] == ["connected", "disconnected", "connected"]


async def test_what_the_server_has_lost_is_sent_again(tmp_path: Path) -> None:
    """N1, N5: when the server comes back without what was written last, as when its machine has died, nothing is lost or doubled."""
    async with (
        RedisServer(tmp_path, "--appendonly", "yes") as server,
        open_runner(Stock(), bus=bus(server.settings), name="cellar"),
        open_runner(bus=bus(server.settings), name="attic") as attic,
    ):

        async def crash() -> None:
            await server.kill()
            cut_off(tmp_path, 5000)
            await server.start()

        with trio.fail_after(PATIENCE):
            assert await numbers_of(attic, 2000, meanwhile=crash) == list(range(2000))
        assert statistics(attic).resets == 0


async def test_a_restart_without_data_is_told(redis_server: RedisServer) -> None:
    """N2, N3: when the server comes back with nothing, all jobs under way are lost, at both ends, and then all is as before."""
    stock = Stock()
    async with (
        open_runner(stock, bus=bus(redis_server.settings), name="cellar"),
        open_runner(bus=bus(redis_server.settings), name="attic") as attic,
    ):
        with trio.fail_after(PATIENCE):
            before = statistics(attic).incarnation
            with pytest.raises(BusResetError):
                async with attic.job("stock", name="sleep"):
                    await stock.asleep.wait()
                    await redis_server.restart()
                    await trio.sleep_forever()
            await until(lambda: stock.cancelled, "the job to be cancelled")
            assert await numbers_of(attic, 10) == list(range(10))
            assert statistics(attic).incarnation != before
            assert statistics(attic).resets == 1


async def test_a_job_of_somebody_cut_off_is_lost_at_both_ends(redis_server: RedisServer) -> None:
    """N2, N3, U9, U11: who is cut off is dead for the others; when it is back, its jobs are over, and it has another life."""
    stock, diary = Stock(), Diary()
    async with (
        open_proxy(redis_server.port) as proxy,
        open_runner(bus=bus(redis_server.settings), name="attic", observers=[diary]) as attic,
    ):
        with trio.fail_after(PATIENCE):
            async with open_runner(stock, bus=bus(proxy.settings), name="cellar"):
                with pytest.raises(PeerDownError, match="runner 'cellar'") as lost:
                    async with attic.job("stock", name="sleep"):
                        await stock.asleep.wait()
                        cut(proxy)
                        await trio.sleep_forever()
                assert lost.value.status is JobStatus.ERROR
                assert "stock" not in attic.registry
                proxy.closed = False
                await until(lambda: stock.cancelled, "the job to be cancelled")
                assert await numbers_of(attic, 10) == list(range(10))
    assert [line for line in diary.lines if "connected" not in line] == [
        "joined cellar",
        "lost cellar",
        "joined cellar",
        "lost cellar",
    ]


PROGRAM = """
import sys, trio
sys.path[:0] = {path!r}
from test_redis_bus import BEAT, TTL, RedisSettings, Stock, bus
from trioworkers import WorkerRunner

async def main():
    runner = WorkerRunner(name="cellar", bus=bus(RedisSettings(host="127.0.0.1", port={port})))
    await runner.add_workers(Stock())
    await runner.run()

trio.run(main)
"""


async def test_a_process_that_stood_still(redis_server: RedisServer) -> None:
    """N2, N3: a process that is stopped for too long is taken for dead, and works again when it goes on."""
    source = PROGRAM.format(path=[str(Path(__file__).parent), str(Path(__file__).parents[1])], port=redis_server.port)
    async with open_runner(bus=bus(redis_server.settings), name="attic") as attic, trio.open_nursery() as nursery:
        with trio.fail_after(3 * PATIENCE):
            process = await nursery.start(partial(trio.run_process, [sys.executable, "-c", source], check=False))
            with pytest.raises(PeerDownError):
                async with attic.job("stock", name="sleep"):
                    await until(lambda: statistics(attic).peers and statistics(attic).peers[0].link.unacknowledged == 0, "the request")
                    os.kill(process.pid, signal.SIGSTOP)
                    await trio.sleep_forever()
            os.kill(process.pid, signal.SIGCONT)
            assert await numbers_of(attic, 10) == list(range(10))
            process.terminate()
            assert await process.wait() == 0


# -- names ---------------------------------------------------------------------------------------------------------------


async def test_a_name_is_taken_on_the_whole_bus(redis_server: RedisServer) -> None:
    """N4, U56: a root's name, and a runner's, belong to one runner; who is refused them is told whose they are."""
    async with open_runner(Stock(), bus=bus(redis_server.settings), name="cellar") as cellar:
        twin = WorkerRunner(name="cellar", bus=bus(redis_server.settings))
        with pytest.raises(DuplicateWorkerError, match="'cellar'"):
            await twin.run()
        async with open_runner(bus=bus(redis_server.settings), name="attic") as attic:
            with pytest.raises(ExceptionGroup) as refused:
                await attic.add_workers(Stock())
            assert refused.group_contains(DuplicateWorkerError, match="'stock' is taken on this bus by runner 'cellar'")
            await cellar.end_workers("stock")
            with trio.fail_after(PATIENCE):
                await attic.add_workers(Stock())
                await cellar.registry.wait_ready("stock")


async def test_a_successor_waits_for_the_silent_owner(redis_server: RedisServer) -> None:
    """N4: whoever is started again after a crash gets its names when its former life is known to be over."""
    for _ in range(3):
        async with open_runner(Stock(), bus=bus(redis_server.settings, leave_timeout=0), name="cellar"):  # leaves without a word
            pass


# -- room, and what is refused -------------------------------------------------------------------------------------------


async def test_a_sender_waits_for_a_receiver_that_is_slow(redis_server: RedisServer) -> None:
    """N7: `send` waits when a mailbox in another runner is full, nothing is lost, and all arrives in order."""
    stock, sent = Stock(), 0
    async with (
        open_runner(stock, bus=bus(redis_server.settings, mailbox_capacity=10, max_inbox=16), name="cellar"),
        open_runner(bus=bus(redis_server.settings, max_inbox=16), name="attic") as attic,
        trio.open_nursery() as nursery,
    ):
        await attic.registry.wait_ready("stock")

        async def send() -> None:
            nonlocal sent
            for value in range(500):
                await attic.bus.send(Number(source="attic", target="stock", value=value))
                sent += 1

        nursery.start_soon(send)
        await until(lambda: statistics(attic).waiting, "the sender to wait")
        await trio.sleep(3 * BEAT)
        assert sent < 100
        stock.open.set()
        await until(lambda: len(stock.numbers) == 500, "everything to arrive")
    assert stock.numbers == list(range(500))


async def test_what_cannot_be_sent_is_refused_where_it_is_sent(redis_server: RedisServer) -> None:
    """N8, R21: what would arrive otherwise, or is too large, never leaves: a request is refused, an answer is its job's error."""
    async with (
        open_runner(Stock(), bus=bus(redis_server.settings, max_message=10_000), name="cellar"),
        open_runner(bus=bus(redis_server.settings, max_message=10_000), name="attic") as attic,
    ):
        with pytest.raises(WireError, match="payload"):
            async with attic.job("stock", name="count", payload={"to": {1}}):
                ...
        with pytest.raises(MessageTooLargeError):
            async with attic.job("stock", name="count", payload={"to": "x" * 20_000}):
                ...
        for how, reason in (("badly", "is a set"), ("at length", "has 2")):
            with pytest.raises(JobError, match=reason) as refused:
                async with attic.job("stock", name="answer", payload={"how": how}):
                    pass
            assert refused.value.status is JobStatus.ERROR
        assert await numbers_of(attic, 3) == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "kind", "complaint"),
    [
        ({"key": "0123456789abcdef"}, TypeError, "a key must be bytes, not a str"),
        ({"key": b"short"}, ValueError, "a key must have at least 16 bytes, not 5"),
        ({"types": {}, "serializer": Codec()}, ValueError, "types go to the serializer"),
    ],
)
def test_what_makes_no_bus_is_refused_at_once(options: dict[str, Any], kind: type[Exception], complaint: str) -> None:
    """A key that is none, and types beside a serializer, are refused where the bus is made."""
    with pytest.raises(kind, match=complaint):
        RedisBus(**options)


async def test_a_forger_is_not_heard(redis_server: RedisServer) -> None:
    """N8: with a key, what somebody without it says is dropped, and counted; those with it understand each other."""
    with_key = partial(bus, redis_server.settings, key=b"0123456789abcdef")
    async with (
        open_runner(Stock(), bus=with_key(), name="cellar") as cellar,
        open_runner(bus=with_key(), name="attic") as attic,
        open_runner(bus=bus(redis_server.settings, key=b"another key that is long"), name="street") as street,
    ):
        assert await numbers_of(attic, 3) == [0, 1, 2]
        with pytest.raises(JobError, match="timeout"):
            async with street.job("stock", name="count", payload={"to": 3}, timeout=5 * BEAT):
                ...
        assert statistics(cellar).forged > 0
        assert "stock" not in street.registry


async def stay(server: RedisSettings, name: str, worker: str, *, task_status: trio.TaskStatus[WorkerRunner]) -> None:
    """Run a runner with one root until it ends."""
    runner = WorkerRunner(name=name, bus=bus(server))
    await runner.add_workers(Stock(worker))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        task_status.started(runner)


async def test_a_root_whose_name_was_taken_meanwhile(redis_server: RedisServer) -> None:
    """N3, N4: who comes back and finds the name of a root taken gives that root up, and stays."""
    async with open_proxy(redis_server.port) as proxy, trio.open_nursery() as nursery:
        with trio.fail_after(PATIENCE):
            cellar = await nursery.start(stay, proxy.settings, "cellar", "stock")
            cut(proxy)
            async with open_runner(Stock(), bus=bus(redis_server.settings), name="attic") as attic:
                proxy.closed = False
                await until(lambda: not cellar.workers, "the old one to be given up")
                assert await numbers_of(attic, 3) == [0, 1, 2]
                assert await numbers_of(cellar, 3) == [0, 1, 2]
            nursery.cancel_scope.cancel()


async def test_a_runner_whose_name_was_taken_meanwhile(redis_server: RedisServer) -> None:
    """N3, N4: who comes back and finds its own name taken fails: there is one of each."""
    async with open_proxy(redis_server.port) as proxy:
        with trio.fail_after(PATIENCE), pytest.raises(ExceptionGroup) as failed:
            async with trio.open_nursery() as nursery:
                await nursery.start(stay, proxy.settings, "cellar", "stock")
                cut(proxy)
                async with open_runner(Stock(), bus=bus(redis_server.settings), name="cellar"):
                    proxy.closed = False
                    await trio.sleep_forever()
        assert failed.group_contains(DuplicateWorkerError, match="'cellar' is taken")
