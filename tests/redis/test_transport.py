"""Runners on a bus over a real server: who is there, what arrives, and what is left when things break."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from redis_support import PATIENCE, Proxy, RedisServer, free_port, need_setting, open_proxy, until
from station_support import FakeStation, Life, Place, a_place

from trioworkers.bus.redis.book import Keys
from trioworkers.bus.redis.dial import open_line
from trioworkers.bus.redis.reading import COUNT
from trioworkers.bus.redis.settings import RedisSettings
from trioworkers.bus.redis.transport import RedisTransport
from trioworkers.bus.redis.writing import PORTION, RUN, portions, runs
from trioworkers.bus.remote.transport import NameTakenError, Parcel, SessionOver
from trioworkers.errors import BusConnectionError

KEYS = Keys("b")
HERE = Path(__file__).parent


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """Where lives begin."""
    async with a_place() as made:
        yield made


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[Proxy]:
    """A way to the server that can be broken."""
    async with open_proxy(redis_server.port) as made:
        yield made


def transport(where: RedisServer | Proxy | RedisSettings, *, beat: float = 0.05, ttl: float = 8.0, **more: Any) -> RedisTransport:
    """Return a transport: by default, with beats that come soon and leases that no slow machine loses."""
    settings = where if isinstance(where, RedisSettings) else where.settings
    return RedisTransport(settings, bus="b", beat=beat, ttl=ttl, **more)


async def ask(server: RedisServer, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
    """Ask the server past all transports."""
    async with open_line(server.settings, name="test", silence=PATIENCE) as line:
        return await line.pipeline(commands)


def numbered(count: int, prefix: str = "") -> list[bytes]:
    """Return frames that say which they are."""
    return [f"{prefix}{number}".encode() for number in range(count)]


def once(frames: list[bytes]) -> list[bytes]:
    """Return frames as a receiver makes them of those that came twice."""
    return list(dict.fromkeys(frames))


# -- who is there --------------------------------------------------------------------------------------------------------


async def test_joining(redis_server: RedisServer, place: Place) -> None:
    """Who has started is a member, has been told who else is, and then that frames flow."""
    a = await place.begin(transport(redis_server), "a")
    assert a.station.log == [("members", ["a"], 0), ("connected",)]
    b = await place.begin(transport(redis_server), "b")
    assert b.station.log == [("members", ["a", "b"], 0), ("connected",)]
    await until(lambda: a.station.present == ["a", "b"])


async def test_leaving(redis_server: RedisServer, place: Place) -> None:
    """Who leaves writes everything first, returns, and is missed by the others after its last word."""
    a = await place.begin(transport(redis_server), "a")
    b = await place.begin(transport(redis_server, batch=7), "b", "name")
    b.station.send("a", *numbered(100))
    await b.leave()
    assert b.error is None
    await until(lambda: a.station.present == ["a"])
    assert a.station.frames == numbered(100)
    assert a.station.log[-1] == ("members", ["a"], 100)
    assert await ask(redis_server, ("HGETALL", KEYS.of("names")), ("EXISTS", KEYS.inbox("b", 0))) == [[], 0]


async def test_leaving_at_once(redis_server: RedisServer, place: Place) -> None:
    """Who wants to leave before it has joined joins, and leaves."""
    life = Life(FakeStation("a"), transport(redis_server))
    life.station.leave()
    await life.live()
    assert life.error is None
    assert await ask(redis_server, ("ZCARD", KEYS.of("members"))) == [0]


async def test_a_crash(redis_server: RedisServer, place: Place) -> None:
    """N2, U9: who is cancelled does not leave: the others are told when its lease has run out, after its last words."""
    a = await place.begin(transport(redis_server, ttl=1.0), "a")
    b = await place.begin(transport(redis_server, ttl=1.0), "b")
    b.station.send("a", *numbered(10))
    await until(lambda: len(a.station.frames) == 10)
    await b.crash()
    assert await ask(redis_server, ("ZCARD", KEYS.of("members"))) == [2]
    await until(lambda: a.station.present == ["a"])


async def test_many_come_and_go(redis_server: RedisServer, place: Place) -> None:
    """N6: however many come and go at the same time, in the end everybody knows who is there."""
    lives: list[Life] = []

    async def begin(number: int) -> None:
        lives.append(await place.begin(transport(redis_server), f"r{number:02}"))

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(begin, number)
    async with trio.open_nursery() as nursery:
        for life in lives[::2]:
            nursery.start_soon(life.leave)
    left = sorted(life.station.incarnation for life in lives[1::2])
    await until(lambda: all(life.station.present == left for life in lives[1::2]))


async def test_replacing(redis_server: RedisServer, place: Place) -> None:
    """N3: who replaces a silent incarnation has its names at once, and the replaced one is over."""
    a = await place.begin(transport(redis_server), "a", "name")
    b = await place.begin(transport(redis_server), "b", "name", replaces="a")
    await a.over()
    assert isinstance(a.error, SessionOver)
    assert "taken for dead" in str(a.error)
    await until(lambda: b.station.present == ["b"])


async def test_missed_news(redis_server: RedisServer, place: Place) -> None:
    """Who comes is seen by the next beats even if its news are lost."""
    a = await place.begin(transport(redis_server), "a")
    await ask(
        redis_server,
        ("ZADD", KEYS.of("members"), 10**15, "quiet"),
        ("HINCRBY", KEYS.of("state"), "generation", 1),
    )
    await until(lambda: a.station.present == ["a", "quiet"])


async def test_a_list_that_has_changed_meanwhile(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Over a new connection the list is looked up even if the generation says that it is the old one."""
    a = await place.begin(transport(proxy), "a")
    await apart(proxy, a)
    await ask(redis_server, ("ZADD", KEYS.of("members"), 10**15, "quiet"))
    proxy.closed = False
    await until(lambda: a.station.present == ["a", "quiet"])


# -- frames --------------------------------------------------------------------------------------------------------------


async def test_frames_keep_their_order(redis_server: RedisServer, place: Place) -> None:
    """N1: frames of one sender arrive in order in each lane, all of them, once, as they were, and what was read is removed."""
    a = await place.begin(transport(redis_server), "a")
    b = await place.begin(transport(redis_server), "b")
    blob = bytes(range(256)) * 3000
    for number in range(600):
        b.station.send("a", f"hi{number}".encode(), lane=0)
        b.station.send("a", f"lo{number}".encode())
    b.station.send("a", blob, b"")
    a.station.send("a", b"self")
    await until(lambda: len(a.station.frames) == 1203)
    assert [frame for frame in a.station.frames if frame.startswith(b"hi")] == numbered(600, "hi")
    assert [frame for frame in a.station.frames if frame.startswith(b"lo")] == numbered(600, "lo")
    assert a.station.frames[-2:] == [blob, b""] or b"self" in a.station.frames[-3:]

    async def empty() -> bool:
        return await ask(redis_server, *(("XLEN", KEYS.inbox("a", lane)) for lane in (0, 1))) == [0, 0]

    await until(empty)


async def test_what_is_written_at_once(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Frames that are written at once are one entry for each run of the same receiver and lane, and arrive one by one."""
    a = await place.begin(transport(proxy), "a")
    b = await place.begin(transport(redis_server), "b")
    await until(lambda: b.station.present == ["a", "b"])
    await apart(proxy, a)
    b.station.send("a", b"1", b"2", b"")
    b.station.send("a", b"urgent", lane=0)
    b.station.send("a", b"3")

    async def written() -> bool:
        return await ask(redis_server, *(("XLEN", KEYS.inbox("a", lane)) for lane in (0, 1))) == [1, 2]

    await until(written)
    proxy.closed = False
    await until(lambda: a.station.frames == [b"urgent", b"1", b"2", b"", b"3"])


async def test_urgent_ones_first(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Of what is read at once, the urgent frames are handed over first."""
    a = await place.begin(transport(proxy), "a")
    await apart(proxy, a)
    await ask(redis_server, *(("XADD", KEYS.inbox("a", lane), "*", "f", f"{lane}") for lane in (1, 0, 1, 0)))
    proxy.closed = False
    await until(lambda: len(a.station.frames) == 4)
    assert a.station.frames == [b"0", b"0", b"1", b"1"]


async def test_nobody_there(redis_server: RedisServer, place: Place) -> None:
    """A frame for somebody who has no inbox is told to be undeliverable, once for what is written at once; the others arrive."""
    a = await place.begin(transport(redis_server), "a")
    a.station.send("ghost", b"1", b"2")
    a.station.send("a", b"3")
    await until(lambda: a.station.frames == [b"3"] and a.station.log[-1][0] == "unreachable")
    assert [entry for entry in a.station.log if entry[0] == "unreachable"] == [("unreachable", "ghost")]
    assert a.station.online


def test_portions() -> None:
    """Much to write is cut into portions that let beats in between, in order, and a frame larger than that goes alone."""
    small, large = Parcel("a", 1, b"x" * (PORTION // 4)), Parcel("a", 1, b"x" * (3 * PORTION))
    cut = list(portions([small, small, small, small, small, large, small]))
    assert [len(portion) for portion in cut] == [4, 2, 1]
    assert list(portions([])) == []


def test_runs() -> None:
    """What is for one inbox is cut into runs, in order, none too long to be handed over without a pause."""
    many = [Parcel("a", 1, frame) for frame in numbered(RUN + 1)]
    others = [Parcel("a", 0, b"x"), Parcel("b", 0, b"y"), Parcel("a", 1, b"z")]
    assert list(runs([*many, *others])) == [many[:RUN], many[RUN:], *([other] for other in others)]
    assert list(runs([])) == []


@pytest.mark.parametrize("lane", [0, 1])
async def test_last_words(lane: int, redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """N6: however many frames of whichever lane somebody has written before it left, all of them arrive before its farewell."""
    a = await place.begin(transport(proxy), "a")
    b = await place.begin(transport(redis_server, batch=1), "b")  # so each is an entry of its own
    await until(lambda: a.station.present == ["a", "b"])
    await apart(proxy, a)
    b.station.send("a", *numbered(5 * COUNT + 17), lane=lane)
    b.station.send("a", *numbered(2 * COUNT, "other"), lane=1 - lane)
    await b.leave()
    proxy.closed = False
    await until(lambda: a.station.present == ["a"])
    assert a.station.log[-1] == ("members", ["a"], 7 * COUNT + 17)


async def test_idle(redis_server: RedisServer, place: Place) -> None:
    """A runner with nothing to do costs a beat now and then, and half as many reads."""
    a = await place.begin(transport(redis_server), "a")
    await place.begin(transport(redis_server), "b")
    a.station.send("a", b"1")
    await until(lambda: a.station.frames and a.station.present == ["a", "b"])

    async def trimmed() -> bool:
        return "xtrim" in await calls(redis_server)

    await until(trimmed)
    before = await calls(redis_server)

    async def many_beats() -> bool:
        return (await calls(redis_server))["evalsha"] >= before["evalsha"] + 40

    await until(many_beats)
    after = await calls(redis_server)
    assert after["xread"] - before["xread"] <= after["evalsha"] - before["evalsha"]
    assert after["xtrim"] == before["xtrim"] == 1


async def test_what_was_read_is_removed_now_and_then(redis_server: RedisServer, place: Place) -> None:
    """While frames come, what was read is removed once for many of them, and never lies there for long."""
    a = await place.begin(transport(redis_server, beat=100.0, ttl=300.0), "a")
    for number in range(300):  # one by one
        a.station.send("a", b"1")
        await until(lambda count=number + 1: len(a.station.frames) == count)  # type: ignore[misc]  # a lambda's default
    (left,) = await ask(redis_server, ("XLEN", KEYS.inbox("a", 1)))
    assert left <= 65
    assert 1 <= (await calls(redis_server))["xtrim"] <= 300 // 64 + 1


async def calls(server: RedisServer) -> dict[str, int]:
    """Return how many times each command was executed."""
    (info,) = await ask(server, ("INFO", "commandstats"))
    lines = (line.removeprefix("cmdstat_") for line in info.decode().splitlines() if line.startswith("cmdstat_"))
    return {line.partition(":")[0]: int(line.partition("calls=")[2].partition(",")[0]) for line in lines}


async def test_news_do_not_wait_for_a_read(redis_server: RedisServer, place: Place) -> None:
    """Who comes and who goes is told at once, however long a read may wait."""
    a = await place.begin(transport(redis_server, beat=100.0, ttl=300.0), "a")
    b = await place.begin(transport(redis_server, beat=100.0, ttl=300.0), "b")
    with trio.fail_after(5):  # a read waits for ten
        await until(lambda: a.station.present == ["a", "b"])
        await b.leave()
        await until(lambda: a.station.present == ["a"])


async def apart(proxy: Proxy, life: Life) -> None:
    """Keep a runner away from the server until ``proxy.closed = False``."""
    losses, refused = life.station.losses, proxy.refused
    proxy.closed = True
    for link in proxy.links:
        link.cut()
    await until(lambda: life.station.losses > losses and proxy.refused > refused)


# -- what breaks ---------------------------------------------------------------------------------------------------------


async def test_a_restart_with_its_data(tmp_path: Path, place: Place) -> None:
    """N5: a server that is killed and comes back with its data has cost nobody its membership, and no frame."""
    async with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        a = await place.begin(transport(server), "a")
        b = await place.begin(transport(server), "b")
        for outage in range(1, 4):
            b.station.send("a", *numbered(300, f"{outage}:"))
            await until(lambda: len(a.station.frames) > 100)
            await server.restart()
            await until(lambda many=outage: a.station.losses == b.station.losses == many)  # type: ignore[misc]  # a lambda's default
            await until(lambda: a.station.online and b.station.online)
            sent = [frame for outer in range(1, outage + 1) for frame in numbered(300, f"{outer}:")]
            await until(lambda all_of_them=sent: set(a.station.frames) == set(all_of_them))  # type: ignore[misc]  # the same
            assert once(a.station.frames) == sent
            b.station.acknowledged()
        assert (a.error, b.error) == (None, None)
        assert [entry for entry in a.station.log if entry[0] == "members"][-1][1] == ["a", "b"]


async def test_a_restart_without_its_data(redis_server: RedisServer, place: Place) -> None:
    """N3: a server that comes back without its data ends every session, and says why."""
    lives = [await place.begin(transport(redis_server), name) for name in "ab"]
    await redis_server.restart()
    for life in lives:
        await life.over()
        assert isinstance(life.error, SessionOver)
        assert "lost what it knew" in str(life.error)


async def test_data_removed_under_way(redis_server: RedisServer, place: Place) -> None:
    """Data that is removed while all are connected ends the sessions with the next beats."""
    a = await place.begin(transport(redis_server), "a")
    await ask(redis_server, ("FLUSHALL",))
    await a.over()
    assert isinstance(a.error, SessionOver)


async def test_an_outage_is_nobodys_silence(redis_server: RedisServer, place: Place) -> None:
    """N5: a server that was away for longer than a lease has cost nobody its membership."""
    lives = [await place.begin(transport(redis_server, ttl=1.0), name) for name in "ab"]
    await until(lambda: lives[0].station.present == ["a", "b"])
    redis_server.pause()
    since = trio.current_time()
    await until(lambda: all(life.station.losses for life in lives) and trio.current_time() - since > 1.5)
    redis_server.resume()
    await until(lambda: all(life.station.online for life in lives))
    for life in lives:
        life.station.send("a", life.station.incarnation.encode())
    await until(lambda: sorted(lives[0].station.frames) == [b"a", b"b"])
    assert [life.error for life in lives] == [None, None]
    assert [entry for entry in lives[0].station.log if entry[0] == "members"] == [("members", ["a"], 0), ("members", ["a", "b"], 0)]


async def test_an_outage_that_is_too_long(redis_server: RedisServer, place: Place) -> None:
    """N3: a server that stays away for longer than the limit ends the session, after the station was told of the loss."""
    a = await place.begin(transport(redis_server, outage_limit=0.3), "a")
    await redis_server.kill()
    await a.over()
    assert isinstance(a.error, SessionOver)
    assert f"127.0.0.1:{redis_server.port} could not be reached for 0.3 s" in str(a.error)
    assert a.station.losses == 1


async def test_an_outage_that_was_short_enough(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """The limit of an outage counts its seconds, and no others: a connection that was found again in time stays."""
    a = await place.begin(transport(proxy, outage_limit=1.5), "a")
    await apart(proxy, a)
    proxy.closed = False
    since = trio.current_time()
    await until(lambda: trio.current_time() - since > 2.0)
    a.station.send("a", b"1")
    await until(lambda: a.station.frames == [b"1"])
    assert (a.error, a.station.losses) == (None, 1)


@pytest.mark.parametrize("which", [b":reads", b":writes"])
async def test_a_closed_link_between_beats(which: bytes, proxy: Proxy, place: Place) -> None:
    """A link that is closed is noticed at once, however rarely there is a beat."""
    a = await place.begin(transport(proxy, beat=100.0, ttl=300.0), "a")
    with trio.fail_after(5):  # a read waits for ten
        for link in proxy.named(which):
            link.cut()
        await until(lambda: a.station.losses and a.station.online)


@pytest.mark.parametrize("which", [b":reads", b":writes"])
@pytest.mark.parametrize("how", ["cut", "swallow"])
async def test_a_broken_link(which: bytes, how: str, proxy: Proxy, redis_server: RedisServer, place: Place) -> None:
    """Either of the two links, closed or dead, is noticed in time: the session goes on over new ones, and nothing is lost."""
    a = await place.begin(transport(proxy, ttl=3.0), "a")
    b = await place.begin(transport(redis_server, ttl=3.0), "b")
    (link,) = proxy.named(which)
    getattr(link, how)()
    a.station.send("b", *numbered(50))
    b.station.send("a", *numbered(50))
    await until(lambda: a.station.losses and a.station.online)
    await until(lambda: len(once(b.station.frames)) == len(once(a.station.frames)) == 50)
    assert once(b.station.frames) == once(a.station.frames) == numbered(50)
    assert (a.error, b.error) == (None, None)


async def said(stream: trio.abc.ReceiveStream, end: bytes) -> bytes:
    """Return what comes until an end."""
    text = b""
    with trio.fail_after(PATIENCE):
        while not text.endswith(end):
            text += bytes(await stream.receive_some())
    return text


async def test_a_stopped_process(redis_server: RedisServer, place: Place) -> None:
    """N3: a process that is stopped for longer than its lease is missed by the others, and told so when it runs again."""
    a = await place.begin(transport(redis_server, beat=0.1, ttl=1.0), "a")
    command = [sys.executable, str(HERE.parent / "stopped_runner.py"), str(redis_server.port), "b", "0.1", "1.0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert await said(process.stdout, b"\n") == b"joined\n"
        await until(lambda: a.station.present == ["a", "b"])
        process.send_signal(signal.SIGSTOP)
        await until(lambda: a.station.present == ["a"])
        process.send_signal(signal.SIGCONT)
        assert b"SessionOver: this incarnation was taken for dead" in await said(process.stdout, b"\n")
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


async def test_a_command_that_fails(redis_server: RedisServer, place: Place) -> None:
    """A frame that the server cannot write, for whatever reason, is a lost connection with that reason, and is given again."""
    a = await place.begin(transport(redis_server), "a")
    await ask(redis_server, ("SET", KEYS.inbox("odd", 1), "no stream"))
    a.station.send("odd", b"1")
    await until(lambda: a.station.losses >= 2)
    assert "WRONGTYPE" in next(entry for entry in a.station.log if entry[0] == "disconnected")[1]
    await ask(redis_server, ("DEL", KEYS.inbox("odd", 1)), ("XADD", KEYS.inbox("odd", 1), "*", "f", "0"))

    async def written() -> bool:
        (length,) = await ask(redis_server, ("XLEN", KEYS.inbox("odd", 1)))
        return bool(length == 2)

    await until(written)
    assert a.error is None


async def test_a_key_of_another_type(redis_server: RedisServer, place: Place) -> None:
    """What cannot be read ends, like what cannot be written, in a lost connection; an inbox that was replaced ends the session."""
    a = await place.begin(transport(redis_server), "a")
    await ask(redis_server, ("SET", KEYS.inbox("a", 0), "no stream"))
    await until(lambda: a.station.losses >= 2 or a.ended)  # found out while it waited for what comes, and when it was back
    for loss in [entry for entry in a.station.log if entry[0] == "disconnected"]:
        assert "WRONGTYPE" in loss[1]


async def test_leaving_over_a_broken_link(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Who leaves while the connection is lost writes everything and leaves when there is one again."""
    a = await place.begin(transport(proxy), "a")
    b = await place.begin(transport(redis_server), "b")
    await until(lambda: b.station.present == ["a", "b"])
    await apart(proxy, a)
    a.station.send("b", *numbered(10))
    a.station.leave()
    proxy.closed = False
    await a.over()
    assert a.error is None
    await until(lambda: b.station.present == ["b"])
    assert b.station.frames == numbered(10)


@pytest.mark.parametrize("deaf", [b"", b":writes"])
async def test_a_lost_farewell(deaf: bytes, redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Who has left, but could not hear that it has, has left all the same: it reads so, or hears so over the next connection."""
    await (await place.begin(transport(redis_server), "first")).leave()  # the server knows the script from now on
    a = await place.begin(transport(proxy, ttl=2.0), "a")
    b = await place.begin(transport(redis_server, ttl=2.0), "b")
    await until(lambda: a.station.present == b.station.present == ["a", "b"])
    for link in proxy.named(deaf):
        link.deaf = True
    a.station.leave()
    await until(lambda: b.station.present == ["b"])
    await a.over()
    assert a.error is None
    assert a.station.losses == (0 if deaf else 1)


async def test_a_station_that_fails(redis_server: RedisServer, place: Place) -> None:
    """An error of the station's own ends the run, and comes out as it is."""
    a = await place.begin(transport(redis_server), "a")

    def arrived(data: bytes) -> None:
        raise KeyError(data)

    a.station.on_frame = arrived
    a.station.send("a", b"1")
    await a.over()
    assert isinstance(a.error, KeyError)


async def test_a_station_that_cannot_give(redis_server: RedisServer) -> None:
    """So does an error of the one who gives what is to be written."""

    class Failing(FakeStation):
        def outgoing(self, limit: int) -> list[Parcel]:
            raise KeyError(limit)

    life = Life(Failing("a"), transport(redis_server))
    life.station.send("a", b"1")
    await life.live()
    assert isinstance(life.error, KeyError)


# -- names ---------------------------------------------------------------------------------------------------------------


async def test_claiming(redis_server: RedisServer, place: Place) -> None:
    """A free name can be claimed; one that somebody holds who is alive is refused with its owner; one given back is free."""
    a = await place.begin(transport(redis_server), "a", "root")
    b = await place.begin(transport(redis_server), "b")
    await a.transport.claim("x")
    for name in ("x", "root"):
        with trio.fail_after(PATIENCE), pytest.raises(NameTakenError) as caught:
            await b.transport.claim(name)
        assert (caught.value.name, caught.value.owner) == (name, "a")
    a.transport.release(["x", "never held"])
    await until(lambda: free(redis_server, "x"))
    await b.transport.claim("x")


async def free(server: RedisServer, name: str) -> bool:
    """Whether nobody holds a name."""
    (owner,) = await ask(server, ("HGET", KEYS.of("names"), name))
    return owner is None


async def test_a_name_that_is_claimed_again(redis_server: RedisServer, place: Place) -> None:
    """A name that was given back and is held again by then is kept, whatever order things are written in."""
    a = await place.begin(transport(redis_server), "a")
    for _ in range(50):
        await a.transport.claim("x")
        a.transport.release(["x"])
    await a.transport.claim("x")
    a.station.claims.append("y")
    await a.transport.claim("y")
    a.transport.release(["y", "z"])
    await a.transport.claim("z")
    a.transport.release(["last"])
    await a.transport.claim("more")
    for name in ("x", "y", "z", "more"):
        assert not await free(redis_server, name)


async def test_a_silent_owner(redis_server: RedisServer, place: Place) -> None:
    """N4: a name of somebody who has crashed is waited for, by who claims and by who joins, until its owner is found to be dead."""
    a = await place.begin(transport(redis_server, ttl=1.0), "a", "root", "x")
    b = await place.begin(transport(redis_server, ttl=1.0), "b")
    await a.crash()
    with trio.fail_after(PATIENCE):
        await b.transport.claim("x")
        c = await place.begin(transport(redis_server, ttl=1.0), "c", "root")
    await until(lambda: b.station.present == c.station.present == ["b", "c"])
    await b.crash()
    await c.crash()
    with trio.fail_after(PATIENCE):
        await place.begin(transport(attrs.evolve(redis_server.settings, connect_timeout=0.7), ttl=1.5), "d", "root", "x")


async def test_joining_with_a_taken_name(redis_server: RedisServer, place: Place) -> None:
    """N4: who would join with a name that somebody holds who is alive cannot."""
    await place.begin(transport(redis_server), "a", "root")
    with trio.fail_after(PATIENCE), pytest.raises(NameTakenError) as caught:
        await place.begin(transport(redis_server), "b", "y", "root")
    assert (caught.value.name, caught.value.owner) == ("root", "a")


async def test_a_claim_waits_for_a_connection(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """A claim that is made, or under way, while the connection is lost is decided over the next one; so is what is given back."""
    a = await place.begin(transport(proxy), "a", "old")
    await apart(proxy, a)
    a.station.claims.clear()
    a.transport.release(["old"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.transport.claim, "x")
        await trio.testing.wait_all_tasks_blocked()
        assert await free(redis_server, "x")
        proxy.closed = False
    assert not await free(redis_server, "x")
    await until(lambda: free(redis_server, "old"))
    for link in proxy.links:
        link.cut()
    with trio.fail_after(PATIENCE):
        await a.transport.claim("y")


async def test_a_release_that_is_lost(redis_server: RedisServer, proxy: Proxy, place: Place) -> None:
    """Giving back is repeated if nobody knows whether it was heard, but not over a claim that was made since."""
    a = await place.begin(transport(proxy), "a", "x")
    a.station.claims.clear()
    a.transport.release(["x"])
    await until(lambda: free(redis_server, "x"))  # the server knows the script from now on
    for losses in range(1, 6):  # as often as it takes for the two to come in either order
        await a.transport.claim("x")
        await a.transport.claim("y")
        for link in proxy.links:
            link.deaf = True
        a.transport.release(["x", "y"])
        await until(lambda: free(redis_server, "x"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.transport.claim, "y")
            await trio.testing.wait_all_tasks_blocked()
            for link in proxy.links:
                link.cut()
        assert a.station.losses == losses
        a.transport.release(["z"])
        await a.transport.claim("z")
        await until(lambda: free(redis_server, "x"))
        assert not await free(redis_server, "y")


async def test_the_end_of_a_session_ends_claims(redis_server: RedisServer, place: Place) -> None:
    """A claim that waits when the session ends is told that it is over, and so is one that is made afterwards, or before."""
    early = transport(redis_server)
    early.release(["x"])
    with pytest.raises(SessionOver, match="no member yet"):
        await early.claim("x")
    a = await place.begin(transport(redis_server), "a", "x")
    await a.crash()
    b = await place.begin(transport(redis_server, outage_limit=0.2), "b")
    told: list[str] = []

    async def claim() -> None:
        with pytest.raises(SessionOver) as caught:
            with trio.fail_after(PATIENCE):
                await b.transport.claim("x")
        told.append(str(caught.value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim)
        await trio.testing.wait_all_tasks_blocked(0.01)
        await redis_server.kill()
    await claim()
    assert told == [str(b.error)] * 2
    assert "could not be reached" in told[0]
    await redis_server.start()
    c = await place.begin(transport(redis_server), "c")
    await c.leave()
    with pytest.raises(SessionOver, match="no member any more"):
        await c.transport.claim("x")


async def test_a_cancelled_claim(redis_server: RedisServer, place: Place) -> None:
    """A claim that is cancelled, at whatever point, holds nothing in the end."""
    a = await place.begin(transport(redis_server), "a")
    held: list[bytes] = []

    async def claim(name: str) -> None:
        await a.transport.claim(name)
        held.append(name.encode())

    for turns in range(12):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, f"x{turns}")
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert len(held) < 12
    await claim("last")

    async def names() -> list[bytes]:
        (flat,) = await ask(redis_server, ("HKEYS", KEYS.of("names")))
        return sorted(flat)

    await until(lambda: is_it(names, sorted(held)))


async def is_it(look: Any, wanted: Any) -> bool:
    """Whether something is what it should be by now."""
    return bool(await look() == wanted)


# -- the first connection ------------------------------------------------------------------------------------------------


async def refusal(settings: RedisSettings, place: Place, **more: Any) -> str:
    """Return why one cannot connect."""
    with pytest.raises(BusConnectionError) as caught:
        await place.begin(transport(settings, **more), "a")
    assert settings.place in str(caught.value)
    assert settings.password is None or settings.password not in str(caught.value)
    return str(caught.value)


async def test_no_server(tmp_path: Path, place: Place) -> None:
    """Where nobody listens the bus cannot be reached."""
    assert "refused" in await refusal(RedisSettings(host="127.0.0.1", port=free_port()), place)
    assert "No such file" in await refusal(RedisSettings(unix_path=str(tmp_path / "none")), place)


async def test_a_silent_server(redis_server: RedisServer, place: Place) -> None:
    """A server that takes the connection and says nothing is given up in time."""
    redis_server.pause()
    said = await refusal(attrs.evolve(redis_server.settings, connect_timeout=0.2), place)
    assert "0.2 s" in said or "in time" in said


async def test_a_wrong_password(tmp_path: Path, place: Place) -> None:
    """A wrong password is said to be one, and is not shown; without one, one is asked for."""
    async with RedisServer(tmp_path, "--requirepass", "s3cret") as server:
        assert "wrong user or password" in await refusal(attrs.evolve(server.settings, password="wr0ng"), place)  # noqa: S106 - an example
        assert "a password is needed" in await refusal(server.settings, place)
        await place.begin(transport(attrs.evolve(server.settings, password="s3cret")), "a")  # noqa: S106 - the same


async def test_another_protocol(redis_server: RedisServer, place: Place) -> None:
    """Who speaks another protocol than the members is refused, and told what they speak."""
    await place.begin(transport(redis_server), "a")
    assert "speak protocol 1 and this one speaks 2" in await refusal(redis_server.settings, place, protocol=2)


async def test_a_server_that_loads(redis_server: RedisServer, tmp_path: Path, place: Place) -> None:
    """A server that loads its data is waited for, but no longer than one attempt may take."""
    await need_setting(redis_server, "loading-process-events-interval-bytes")
    async with RedisServer(tmp_path / "loads", "--appendonly", "yes", "--appendfsync", "always") as server:
        await ask(server, *(("SET", f"key{number}", "x") for number in range(5000)))
        server.options += ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"]
        for patience in (0.05, PATIENCE):
            await server.kill()
            await server.start(loaded=False)
            settings = attrs.evolve(server.settings, connect_timeout=patience)
            if patience < 1:
                said = await refusal(settings, place)
                assert "LOADING" in said or "in time" in said
            else:
                await place.begin(transport(settings), "a")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"settings": "redis://"}, TypeError),
        ({"bus": ""}, ValueError),
        ({"bus": 1}, TypeError),
        ({"bus": "a{b"}, ValueError),
        ({"bus": "a}b"}, ValueError),
        ({"beat": 0}, ValueError),
        ({"beat": "1"}, TypeError),
        ({"beat": 1.0, "ttl": 2.0}, ValueError),
        ({"ttl": float("inf")}, ValueError),
        ({"outage_limit": -1}, ValueError),
        ({"outage_limit": None}, TypeError),
        ({"batch": 0}, ValueError),
        ({"batch": 1.5}, TypeError),
        ({"protocol": True}, TypeError),
    ],
)
def test_arguments(given: dict[str, Any], error: type[Exception]) -> None:
    """What makes no sense is refused when a transport is made; a limit of for ever makes sense."""
    RedisTransport(RedisSettings(), bus="b", outage_limit=float("inf"))
    arguments: dict[str, Any] = {"settings": RedisSettings(), "bus": "b", **given}
    with pytest.raises(error):
        RedisTransport(**arguments)
