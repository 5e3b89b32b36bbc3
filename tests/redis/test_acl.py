"""A user with the rights that the guide names, and no others: all that a bus does works, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from redis_support import PATIENCE, RedisServer, until

from trioworkers import (
    BaseWorker,
    BusConnectionError,
    BusResetError,
    DuplicateWorkerError,
    RedisBus,
    RedisSettings,
    RemoteBusStatistics,
    WorkerRunner,
    job,
    open_runner,
)
from trioworkers.bus.redis.dial import open_line
from trioworkers.bus.redis.line import RedisLine
from trioworkers.bus.redis.replies import RedisReplyError

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "operations.md"
USER, PASSWORD = "shop", "secret"  # what the guide calls them
FORBIDDEN = [
    ("GET", "other"),
    ("SET", "other", "x"),
    ("XADD", "tw:{other}:news", "*", "f", "x"),
    ("XRANGE", "tw:{shop}:news", "-", "+"),
    ("EVAL", "return redis.call('GET', 'other')", 0),
    ("EVAL", "return redis.call('ZADD', 'tw:{other}:members', 1, 'x')", 1, "tw:{other}:members"),
    ("EVAL", "return redis.call('FLUSHALL')", 0),
    ("KEYS", "*"),
    ("SCAN", 0),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("ACL", "LIST"),
    ("SHUTDOWN",),
    ("REPLICAOF", "NO", "ONE"),
    ("SCRIPT", "FLUSH"),
    ("SUBSCRIBE", "news"),
    ("MONITOR",),
    ("INFO",),
]


def recipe() -> list[str]:
    """Return the rules of the user, as the guide writes them down."""
    (line,) = re.findall(rf"^ACL SETUSER {USER} (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).replace('"', "").split()


@pytest.fixture
async def admin(redis_server: RedisServer) -> AsyncIterator[RedisLine]:
    """A line that may do everything; the bus's user is there."""
    async with open_line(redis_server.settings, name="admin", silence=PATIENCE) as line:
        await line.execute("ACL", "SETUSER", USER, *recipe())
        yield line


def settings(server: RedisServer) -> RedisSettings:
    """How the user gets in."""
    return attrs.evolve(server.settings, username=USER, password=PASSWORD)


class Stock(BaseWorker):
    """Counts, one after another, and sleeps."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asleep = trio.Event()

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


def bus(server: RedisServer, *, leave_timeout: float = 5.0) -> RedisBus:
    """A bus of this user."""
    return RedisBus(settings(server), name="shop", beat=0.1, ttl=0.5, leave_timeout=leave_timeout)


def peers(runner: WorkerRunner) -> int:
    """How many other runners it knows."""
    statistics = runner.bus.statistics()
    assert isinstance(statistics, RemoteBusStatistics)
    return len(statistics.peers)


async def talk(server: RedisServer) -> None:
    """Have runners join, claim names, be refused them, talk and leave."""
    async with open_runner(Stock("stock"), bus=bus(server), name="first") as first:
        with pytest.raises(ExceptionGroup) as refused:
            async with open_runner(Stock("stock"), bus=bus(server), name="second"):
                ...
        assert refused.group_contains(DuplicateWorkerError, match="'first'")
        async with open_runner(bus=bus(server), name="second") as second:
            async with second.job("stock", name="count", payload={"to": 300}) as counting:
                assert len([event async for event in counting if event.type == event.STREAM_DATA]) == 300
            await second.add_workers(Stock("till"))
            await first.registry.wait_ready("till")
            await second.end_workers("till")
            await until(lambda: "till" not in first.registry, "the end of a worker to be told")
        await until(lambda: not peers(first), "the farewell")


async def be_lost(server: RedisServer) -> None:
    """Have a runner vanish without a farewell, so that it is swept; and another one succeed it."""
    async with open_runner(bus=bus(server), name="first") as first:
        async with open_runner(Stock("stock"), bus=bus(server, leave_timeout=0), name="second"):
            await first.registry.wait_ready("stock")
        assert peers(first) == 1
        async with open_runner(Stock("stock"), bus=bus(server), name="second"):  # waits for the verdict on the silent one
            async with first.job("stock", name="count", payload={"to": 1}):
                pass
            assert peers(first) == 1


async def begin_anew(server: RedisServer, admin: RedisLine) -> None:
    """Have a runner lose its place, because the server has lost what it knew, and take another."""
    stock = Stock("stock")
    async with open_runner(stock, bus=bus(server), name="first"), open_runner(bus=bus(server), name="second") as second:
        with pytest.raises(BusResetError):
            async with second.job("stock", name="sleep"):
                await stock.asleep.wait()
                await admin.execute("FLUSHALL")
        async with second.job("stock", name="count", payload={"to": 1}):
            pass


async def executed(admin: RedisLine) -> set[str]:
    """Return which commands the server has executed since its statistics were reset, but for this one."""
    text = (await admin.execute("INFO", "commandstats")).decode()
    names = re.findall(r"^cmdstat_([a-z]+)[a-z|-]*:calls=[1-9]", text, re.MULTILINE)
    return set(names) - {"info", "config", "flushall"}


async def test_with_the_rights_of_the_guide_everything_works(redis_server: RedisServer, admin: RedisLine) -> None:
    """A user with exactly the rights of the guide can do all that a bus does; and all that is granted is needed."""
    granted = {rule.removeprefix("+") for rule in recipe() if rule.startswith("+")}
    await admin.execute("CONFIG", "RESETSTAT")
    with trio.fail_after(PATIENCE):
        await talk(redis_server)
        await be_lost(redis_server)
        await begin_anew(redis_server, admin)
    assert await executed(admin) - {"hello", "auth"} == granted  # those two are everybody's
    log = await admin.execute("ACL", "LOG")
    assert log == []


async def test_everything_else_is_refused(redis_server: RedisServer, admin: RedisLine) -> None:
    """Such a user can neither touch another bus, nor any other key, nor look around, nor administer."""
    async with open_line(settings(redis_server), name="user", silence=PATIENCE) as line:
        for command in FORBIDDEN:
            with pytest.raises(RedisReplyError, match=r"(?i)no permissions|user executing the script can't"):
                await line.execute(*command)
        await line.execute("XADD", "tw:{shop}:x", "*", "f", "x")  # on its own bus it may do what it likes
    assert await admin.execute("KEYS", "*") == [b"tw:{shop}:x"]


async def test_another_bus_is_refused_where_the_runner_starts(redis_server: RedisServer, admin: RedisLine) -> None:
    """A bus that the user has no rights for cannot be joined, and the error says why."""
    runner = WorkerRunner(bus=RedisBus(settings(redis_server), name="other", connect_timeout=0.5))
    with pytest.raises(BusConnectionError, match=r"(?i)permission"):
        await runner.run()
