"""What the server does in one step, against a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from redis_support import PATIENCE, RedisServer, until

from trioworkers.bus.redis.book import Book, Joined, Keys, OtherProtocol, Taken, milliseconds
from trioworkers.bus.redis.dial import open_line
from trioworkers.bus.redis.line import LineLost, RedisLine
from trioworkers.bus.remote.transport import SessionOver

KEYS = Keys("b1")
TTL = 4.0
"""So long that no slow machine takes it for passed: the tests move the server's memory of time, and do not wait."""


@pytest.fixture
async def line(redis_server: RedisServer) -> AsyncIterator[RedisLine]:
    """A line to a server of the test's own."""
    async with open_line(redis_server.settings, name="test", silence=PATIENCE) as opened:
        yield opened


def book(incarnation: str, *, ttl: float = TTL, keep: float = 60.0) -> Book:
    """Return the book as an incarnation sees it."""
    return Book(KEYS, incarnation, ttl, keep)


async def join(
    line: RedisLine,
    incarnation: str,
    *names: str,
    ttl: float = TTL,
    keep: float = 60.0,
    protocol: int = 1,
    replaces: str | None = None,
) -> Any:
    """Try to become a member."""
    return await book(incarnation, ttl=ttl, keep=keep).join(
        line, names, token=f"token of {incarnation}", protocol=protocol, replaces=replaces
    )


async def now(line: RedisLine) -> int:
    """Return the server's time in ms."""
    seconds, micro = await line.execute("TIME")
    return int(seconds) * 1000 + int(micro) // 1000


async def aged(line: RedisLine, incarnation: str, seconds: float) -> None:
    """Make the server believe that a member was silent for a while."""
    await line.execute("ZADD", KEYS.of("members"), await now(line) - int(seconds * 1000), incarnation)


async def swept(line: RedisLine, seconds: float, *, grace: float = 3600.0) -> None:
    """Make the server believe that somebody has swept, and that the leases were begun anew, so long ago."""
    time = await now(line)
    await line.execute("HSET", KEYS.of("state"), "swept", time - int(seconds * 1000), "grace", time - int(grace * 1000))


async def members(line: RedisLine) -> list[str]:
    """Return who is a member."""
    return [name.decode() for name in await line.execute("ZRANGE", KEYS.of("members"), 0, -1)]


async def names(line: RedisLine) -> dict[str, str]:
    """Return who holds which name."""
    flat = [word.decode() for word in await line.execute("HGETALL", KEYS.of("names"))]
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def test_joining(line: RedisLine) -> None:
    """Whoever joins is a member, holds its names, and hears of the epoch, the generation and all members."""
    first = await join(line, "a", "x", "y")
    assert isinstance(first, Joined)
    assert (first.epoch, first.generation, first.members) == ("token of a", 1, ("a",))
    second = await join(line, "b", "z")
    assert (second.epoch, second.generation, sorted(second.members)) == ("token of a", 2, ["a", "b"])
    assert await names(line) == {"x": "a", "y": "a", "z": "b"}
    news = await line.execute("XRANGE", KEYS.of("news"), "-", "+")
    assert [entry.decode() for entry, _ in news] == [first.news, second.news]


async def test_an_inbox_is_there_from_joining_to_removal(line: RedisLine) -> None:
    """An inbox is empty and can be written to from joining on; before that and after removal, a write is refused."""
    writes = [("XADD", KEYS.inbox("a", lane), "NOMKSTREAM", "*", "f", "x") for lane in (0, 1)]
    assert await line.pipeline(writes) == [None, None]
    await join(line, "a")
    assert await line.execute("XLEN", KEYS.inbox("a", 0)) == await line.execute("XLEN", KEYS.inbox("a", 1)) == 0
    assert None not in await line.pipeline(writes)
    await book("a").leave(line)
    assert await line.pipeline(writes) == [None, None]


async def test_joining_twice(line: RedisLine) -> None:
    """Whoever joins again, because it has not heard the answer, loses nothing of its inbox and is not refused for its own names."""
    await join(line, "a", "x")
    await line.execute("XADD", KEYS.inbox("a", 1), "NOMKSTREAM", "*", "f", "x")
    assert isinstance(await join(line, "a", "x"), Joined)
    assert await line.execute("XLEN", KEYS.inbox("a", 1)) == 1


async def test_a_taken_name(line: RedisLine) -> None:
    """N4: a name that another member holds is refused with its owner and when that was last heard of, and nothing has changed."""
    await join(line, "a", "x")
    heard = (await line.execute("ZSCORE", KEYS.of("members"), "a")).decode()
    assert await join(line, "b", "y", "x") == Taken("x", "a", heard)
    assert await members(line) == ["a"]
    assert await names(line) == {"x": "a"}
    assert await line.execute("EXISTS", KEYS.inbox("b", 0), KEYS.inbox("b", 1)) == 0


async def test_replacing(line: RedisLine) -> None:
    """Whoever replaces another takes over its names, and the other's membership and inboxes are gone; the others are woken."""
    await join(line, "a", "x")
    joined = await join(line, "a2", "x", replaces="a")
    assert joined.members == ("a2",)
    assert joined.generation == 3
    assert await names(line) == {"x": "a2"}
    assert await line.execute("EXISTS", KEYS.inbox("a", 0), KEYS.inbox("a", 1)) == 0


async def test_another_protocol(line: RedisLine) -> None:
    """Another protocol is refused while there are members, and becomes that of the bus when there are none."""
    await join(line, "a")
    assert await join(line, "b", protocol=2) == OtherProtocol("1")
    await book("a").leave(line)
    assert isinstance(await join(line, "b", protocol=2), Joined)
    assert await join(line, "a2") == OtherProtocol("2")


async def test_another_protocol_of_the_dead(line: RedisLine) -> None:
    """Members that are dead refuse nobody for long: whoever asks again and again, with whatever protocol, sweeps them."""
    await join(line, "a", ttl=0.2)

    async def joined() -> bool:
        return isinstance(await join(line, "b", ttl=0.2, protocol=2), Joined)

    await until(joined)
    assert await members(line) == ["b"]


async def test_a_beat(line: RedisLine) -> None:
    """A beat moves when one was last heard of, returns the generation, and changes no generation."""
    epoch = (await join(line, "a")).epoch
    await aged(line, "a", 0.1)
    before = int(await line.execute("ZSCORE", KEYS.of("members"), "a"))
    assert await book("a").beat(line, epoch) == 1
    assert int(await line.execute("ZSCORE", KEYS.of("members"), "a")) >= before + 100
    await join(line, "b")
    assert await book("a").beat(line, epoch) == 2


async def test_the_silent_are_swept(line: RedisLine) -> None:
    """N2, U9: whoever was silent for longer than the lease is removed by anybody's beat, with names and inboxes, and told so."""
    epoch = (await join(line, "a", "x")).epoch
    await join(line, "b", "y")
    await swept(line, 0.0)
    await aged(line, "b", TTL + 0.1)
    length = await line.execute("XLEN", KEYS.of("news"))
    assert await book("a").beat(line, epoch) == 3
    assert await members(line) == ["a"]
    assert await names(line) == {"x": "a"}
    assert await line.execute("EXISTS", KEYS.inbox("b", 0), KEYS.inbox("b", 1)) == 0
    assert await line.execute("XLEN", KEYS.of("news")) == length + 1
    with pytest.raises(SessionOver, match="taken for dead"):
        await book("b").beat(line, epoch)
    with pytest.raises(SessionOver, match="taken for dead"):
        await book("b").claim(line, "z")
    assert await members(line) == ["a"]


async def test_leases_begin_anew_when_nobody_has_swept(line: RedisLine) -> None:
    """N5: if nobody has swept for a while, silence proves nothing: nobody is removed before a whole lease of silence since then."""
    epoch = (await join(line, "a")).epoch
    await join(line, "b")
    await swept(line, TTL)
    heard = int(await now(line)) - 100_000
    await line.execute("ZADD", KEYS.of("members"), heard, "b")
    await book("a").beat(line, epoch)
    await book("a").beat(line, epoch)
    assert sorted(await members(line)) == ["a", "b"]
    assert int(await line.execute("ZSCORE", KEYS.of("members"), "b")) == heard  # a new lease is no sign of life
    await swept(line, 0.0, grace=TTL + 0.1)
    await book("a").beat(line, epoch)
    assert await members(line) == ["a"]


async def test_who_comes_late_to_its_own_beat(line: RedisLine) -> None:
    """Whoever is late, but was not removed, is a member still: a beat never removes whose beat it is."""
    epoch = (await join(line, "a")).epoch
    await swept(line, 0.0)
    await aged(line, "a", 10 * TTL)
    assert await book("a").beat(line, epoch) == 1


async def test_a_clock_that_is_set_back(line: RedisLine) -> None:
    """When the server's clock is set back, the dead are found in the time of a lease all the same, and the living stay."""
    epoch = (await join(line, "a", ttl=0.5)).epoch
    await join(line, "b", ttl=0.5)
    await swept(line, -3600.0, grace=-3600.0)
    await aged(line, "b", -3600.0)

    async def alone() -> bool:
        await book("a").beat(line, epoch)
        return await members(line) == ["a"]

    await book("a").beat(line, epoch)
    assert sorted(await members(line)) == ["a", "b"]
    await until(alone)


async def test_the_longest_lease_holds(line: RedisLine) -> None:
    """Among members that ask for different leases the longest holds for all; when all have gone, it is forgotten."""
    epoch = (await join(line, "a", ttl=0.2)).epoch
    await join(line, "b", ttl=60.0)
    await join(line, "c", ttl=0.2)
    await swept(line, 0.0)
    await aged(line, "b", 30.0)
    await book("a").beat(line, epoch)
    assert sorted(await members(line)) == ["a", "b", "c"]
    for incarnation in "abc":
        await book(incarnation).leave(line)
    await join(line, "d", ttl=0.2)
    assert await line.execute("HGET", KEYS.of("state"), "ttl") == b"200"


async def test_claiming_and_giving_back(line: RedisLine) -> None:
    """N4: a free name can be claimed, again and again by its owner, by nobody else; only its owner can give it back."""
    await join(line, "a")
    await join(line, "b")
    assert await book("a").claim(line, "x") is None
    assert await book("a").claim(line, "x") is None
    taken = await book("b").claim(line, "x")
    assert isinstance(taken, Taken)
    assert (taken.name, taken.owner) == ("x", "a")
    await book("b").release(line, ["x", "never"])
    assert await names(line) == {"x": "a"}
    await book("a").release(line, ["x"])
    assert await book("b").claim(line, "x") is None


async def test_names_of_nobody(line: RedisLine) -> None:
    """A name whose owner is no member, which only happens to data that somebody has meddled with, is free."""
    await join(line, "a")
    await line.execute("HSET", KEYS.of("names"), "x", "ghost", "y", "ghost")
    assert isinstance(await join(line, "b", "y"), Joined)
    assert await book("a").claim(line, "x") is None


async def test_leaving(line: RedisLine) -> None:
    """Whoever leaves is no member, holds no name and has no inbox; the others are woken; leaving twice is harmless."""
    epoch = (await join(line, "a", "x")).epoch
    await join(line, "b", "y")
    await book("b").leave(line)
    await book("b").leave(line)
    assert await members(line) == ["a"]
    assert await names(line) == {"x": "a"}
    assert await book("a").beat(line, epoch) == 3


async def test_the_server_forgets(line: RedisLine) -> None:
    """N3: if the server has lost what it knew, the next beat says so, and so it does when others have begun afresh since."""
    epoch = (await join(line, "a")).epoch
    await line.execute("FLUSHALL")
    with pytest.raises(SessionOver, match="lost what it knew"):
        await book("a").beat(line, epoch)
    assert (await join(line, "b")).epoch == "token of b"
    with pytest.raises(SessionOver, match="lost what it knew"):
        await book("a").beat(line, epoch)


async def test_a_lost_inbox(line: RedisLine) -> None:
    """A member whose inbox is gone, and with it what others have written there, is a member no more."""
    epoch = (await join(line, "a")).epoch
    await line.execute("DEL", KEYS.inbox("a", 0))
    with pytest.raises(SessionOver, match="lost what it knew"):
        await book("a").beat(line, epoch)
    assert await members(line) == []


async def test_what_all_have_left_behind(line: RedisLine) -> None:
    """The inboxes of members that all have crashed vanish by themselves; as long as there are beats, they stay."""
    epoch = (await join(line, "a", keep=100.0)).epoch
    inboxes = [KEYS.inbox("a", 0), KEYS.inbox("a", 1)]
    for inbox in inboxes:
        assert 0 < await line.execute("PTTL", inbox) <= 100_000
        await line.execute("PEXPIRE", inbox, 5000)
    await book("a", keep=100.0).beat(line, epoch)
    assert min(await line.pipeline([("PTTL", inbox) for inbox in inboxes])) > 5000
    await book("a", keep=0.001).beat(line, epoch)

    async def gone() -> bool:
        return bool(await line.execute("EXISTS", *inboxes) == 0)

    await until(gone)


async def test_news_are_few(line: RedisLine) -> None:
    """The stream that wakes stays short, however often members come and go."""
    for _ in range(300):
        await join(line, "a")
        await book("a").leave(line)
    assert await line.execute("XLEN", KEYS.of("news")) < 250


async def test_a_server_that_does_not_know_the_script(line: RedisLine) -> None:
    """A script that the server has forgotten is sent again."""
    epoch = (await join(line, "a")).epoch
    await book("a").beat(line, epoch)
    await line.execute("SCRIPT", "FLUSH")
    assert await book("a").beat(line, epoch) == 1


async def test_data_of_somebody_else(line: RedisLine) -> None:
    """An error of a script, whatever it is, is a line that cannot be used."""
    await line.execute("SET", KEYS.of("state"), "mine")
    with pytest.raises(LineLost, match="WRONGTYPE"):
        await join(line, "a")
    assert line.lost is not None


async def test_a_bus_is_one_slot_and_one_prefix(line: RedisLine) -> None:
    """All keys of a bus carry its hash tag, and two buses share none."""
    await join(line, "a", "x")
    other = attrs.evolve(book("a"), keys=Keys("b2"))
    assert isinstance(await other.join(line, ["x"], token="t", protocol=2, replaces=None), Joined)  # noqa: S106 - no password
    for key in await line.execute("KEYS", "*"):
        assert key.startswith((b"tw:{b1}:", b"tw:{b2}:"))


async def test_a_user_for_a_bus(tmp_path: Path) -> None:
    """A user with the rights that are listed, and no more, can do all that a member does, on its own bus only."""
    from trioworkers.bus.redis import scripts  # noqa: PLC0415 - its docstring is what is tested

    assert scripts.__doc__ is not None
    rights = " ".join(word.strip("`.:,") for word in scripts.__doc__.split() if word.strip("`").startswith("+"))
    assert "+zadd" in rights
    acl = tmp_path / "users.acl"
    acl.write_text(f"user default on nopass ~* &* +@all\nuser bob on >pw ~tw:{{b1}}:* resetchannels -@all {rights}\n")
    async with RedisServer(tmp_path, "--aclfile", str(acl)) as server:
        settings = attrs.evolve(server.settings, username="bob", password="pw")  # noqa: S106 - an example
        async with open_line(settings, name="bob", silence=PATIENCE) as line:
            epoch = (await join(line, "a", "x")).epoch
            await join(line, "b", "y", replaces="c")
            await swept(line, 0.0)
            await aged(line, "b", 10.0)
            await book("a").beat(line, epoch)
            await book("a").claim(line, "z")
            await book("a").release(line, ["z"])
            await line.execute("XADD", KEYS.inbox("a", 0), "NOMKSTREAM", "*", "f", "x")
            await line.execute("XREAD", "COUNT", 1, "STREAMS", KEYS.inbox("a", 0), "0-0")
            await line.execute("XTRIM", KEYS.inbox("a", 0), "MINID", "1-1")
            await book("a").leave(line)
            with pytest.raises(LineLost, match=r"(?i)permission"):
                await attrs.evolve(book("a"), keys=Keys("b2")).join(line, (), token="t", protocol=1, replaces=None)  # noqa: S106 - the same


def test_no_time_is_no_time() -> None:
    """However short a time is, it is a millisecond for the server, to whom zero means for ever."""
    assert [milliseconds(seconds) for seconds in (0.0, 0.0001, 0.0016, 2.5)] == [1, 1, 2, 2500]


async def test_two_at_once(redis_server: RedisServer) -> None:
    """N4: of many that claim the same name at the same time one gets it."""
    won: list[str] = []

    async def claim(incarnation: str) -> None:
        async with open_line(redis_server.settings, name=incarnation, silence=PATIENCE) as line:
            if isinstance(await join(line, incarnation, "x", ttl=60.0), Joined):
                won.append(incarnation)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(claim, f"r{number}")
    assert len(won) == 1
