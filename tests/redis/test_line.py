"""One connection, many tasks: replies are never mixed up, and what breaks a line everybody learns."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trustme
from redis_support import PATIENCE, RedisServer, free_port, need_setting, until
from trio.testing import MemoryReceiveStream, MemorySendStream

from trioworkers.bus.redis.carrier import StreamCarrier
from trioworkers.bus.redis.dial import Refused, _handshake_failed, open_line
from trioworkers.bus.redis.line import LineLost, RedisLine, serve_line
from trioworkers.bus.redis.replies import RedisReplyError, load_hiredis
from trioworkers.bus.redis.settings import RedisSettings
from trioworkers.bus.redis.transport import RedisTransport

Pair = trio.StapledStream[MemorySendStream, MemoryReceiveStream]
HELLO = b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$%d\r\n%s\r\n"


def packed(*words: str) -> bytes:
    """Return a command as it is written."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


@asynccontextmanager
async def scripted(silence: float = 5.0) -> AsyncIterator[tuple[RedisLine, Pair]]:
    """A line whose server is the test."""
    near, far = trio.testing.memory_stream_pair()
    async with serve_line(StreamCarrier(near), silence=silence) as line:
        yield line, far


async def settle() -> None:
    """Let everybody else come to rest."""
    await trio.testing.wait_all_tasks_blocked()


# -- over memory streams -------------------------------------------------------------------------------------------------


async def test_a_command_and_its_reply(autojump_clock: trio.testing.MockClock) -> None:
    """A command is written as it is given, and its reply, however it is torn into pieces, is returned."""
    async with scripted() as (line, server), trio.open_nursery() as nursery:
        got: list[Any] = []

        async def ask() -> None:
            got.append(await line.execute("SET", b"key", 1, 1.5))

        nursery.start_soon(ask)
        await settle()
        assert bytes(await server.receive_some()) == packed("SET", "key", "1", "1.5")
        for byte in b"*3\r\n:1\r\n$-1\r\n$2\r\nab\r\n":
            await server.send_all(bytes([byte]))
        await settle()
        assert got == [[1, None, b"ab"]]


async def test_commands_given_in_the_midst_of_others(autojump_clock: trio.testing.MockClock) -> None:
    """What a garbage collection gives while commands are being written goes behind them: no reply is taken for another's."""
    near, far = trio.testing.memory_stream_pair()
    got: list[Any] = []

    class Interrupted(StreamCarrier):
        """Gives a command from inside the first write."""

        def send_now(self, data: bytes) -> int:
            if not got:
                got.append("interrupted")
                line.give([("SECOND",)], got.extend)
            return super().send_now(data)

    async with serve_line(Interrupted(near), silence=5) as line, trio.open_nursery() as nursery:

        async def ask() -> None:
            got.append(await line.execute("FIRST"))

        nursery.start_soon(ask)
        await settle()
        assert bytes(await far.receive_some()) == packed("FIRST") + packed("SECOND")
        await far.send_all(b"+one\r\n+two\r\n")
        await settle()
        assert got == ["interrupted", b"two", b"one"]  # a callback comes before a task


async def test_commands_given_in_the_midst_of_a_loss(autojump_clock: trio.testing.MockClock) -> None:
    """If the line breaks in that very write, whoever gave them hears of it, and nobody waits."""
    near, _ = trio.testing.memory_stream_pair()
    answered: list[Any] = []

    class Breaking(StreamCarrier):
        """Breaks at once; and somebody gives a command meanwhile."""

        def send_now(self, data: bytes) -> int:
            line.give([("SECOND",)], answered.append)
            raise trio.BrokenResourceError("cut")

    async with serve_line(Breaking(near), silence=5) as line:
        with pytest.raises(LineLost, match="cut"):
            await line.execute("FIRST")
        with pytest.raises(LineLost, match="cut"):
            await line.settled()
    assert not answered


async def test_order_among_tasks(autojump_clock: trio.testing.MockClock) -> None:
    """Commands are written in the order of the calls, a pipeline's together, and each caller gets its own replies."""
    async with scripted() as (line, server):
        got: dict[str, Any] = {}

        async def ask(name: str, *commands: tuple[str, ...]) -> None:
            got[name] = await line.pipeline(commands)

        async with trio.open_nursery() as nursery:
            for name, commands in (("a", [("A",)]), ("b", [("B",), ("C",)]), ("c", [("D",)])):
                nursery.start_soon(ask, name, *commands)
                await settle()
            assert bytes(await server.receive_some()) == b"".join(map(packed, "ABCD"))
            await server.send_all(b":1\r\n:2\r\n-ERR no\r\n:4\r\n")
        assert (got["a"], got["b"][0], got["c"]) == ([1], 2, [4])
        assert isinstance(got["b"][1], RedisReplyError)


async def test_an_empty_pipeline(autojump_clock: trio.testing.MockClock) -> None:
    """A pipeline of no commands has no replies and asks for none."""
    async with scripted() as (line, _):
        assert await line.pipeline([]) == []


async def test_replies_told_in_place(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever gives commands without waiting is told the replies, in order with those of others, and gives the next ones there."""
    async with scripted() as (line, server):
        told: list[Any] = []

        def again(replies: list[Any]) -> None:
            told.append(replies)
            if len(told) < 3:
                line.give([("B",), ("C",)], again)

        line.give([("A",)], again)
        await server.send_all(b":1\r\n:2\r\n:3\r\n:4\r\n-ERR no\r\n")
        await settle()
        assert told[:2] == [[1], [2, 3]]
        assert [type(reply) for reply in told[2]] == [int, RedisReplyError]
        assert bytes(await server.receive_some()) == packed("A") + 2 * (packed("B") + packed("C"))


async def test_what_is_posted_is_settled(autojump_clock: trio.testing.MockClock) -> None:
    """To wait until all is settled is to wait for the replies to what was posted, and at once over if there is nothing."""
    async with scripted() as (line, server), trio.open_nursery() as nursery:
        told: list[Any] = []
        await line.settled()
        line.post([("A",)], told.append)
        line.post([("B",)], told.append)

        async def wait() -> None:
            await line.settled()
            told.append("settled")

        nursery.start_soon(wait)
        await settle()
        await server.send_all(b":1\r\n")
        await settle()
        assert told == [[1]]
        await server.send_all(b":2\r\n")
        await settle()
        assert told == [[1], [2], "settled"]


async def test_a_lost_line_tells_nobody_any_replies(autojump_clock: trio.testing.MockClock) -> None:
    """When a line is lost, what was given and posted is not told, who waits for it to be settled is, and nothing more is taken."""
    async with scripted(silence=3) as (line, _):
        told: list[Any] = []
        line.give([("A",)], told.append)
        line.post([("B",)], told.append)
        with pytest.raises(LineLost, match="silent for 3 s"):
            await line.settled()
        for more in (line.give, line.post):
            with pytest.raises(LineLost, match="silent for 3 s"):
                more([("C",)], told.append)
        with pytest.raises(LineLost, match="silent for 3 s"):
            await line.settled()
        assert told == []


async def test_what_is_posted_has_no_silence(autojump_clock: trio.testing.MockClock) -> None:
    """Replies for which nobody waits may be as late as they like; from when somebody waits, silence is measured."""
    async with scripted(silence=3) as (line, _):
        line.post([("A",)], print)
        await trio.sleep(100)
        start = trio.current_time()
        with pytest.raises(LineLost, match="silent for 3 s"):
            await line.settled()
        assert trio.current_time() - start == 3


@attrs.define
class Reluctant:
    """A carrier that takes a few bytes at once, and the rest when it is let."""

    stream: Pair
    bites: list[int]
    let: trio.Event = attrs.field(factory=trio.Event)
    taken: bytes = b""

    def send_now(self, data: bytes) -> int:
        """Take a bite."""
        size = self.bites.pop(0)
        self.taken += data[:size]
        return size

    async def send_all(self, data: bytes) -> None:
        """Take it all, when let."""
        await self.let.wait()
        self.taken += data

    async def receive_some(self) -> bytes | bytearray:
        """Receive."""
        return await self.stream.receive_some()

    def wake_at(self, size: int) -> None:
        """It does not know how."""

    async def aclose(self) -> None:
        """Close."""
        await trio.aclose_forcefully(self.stream)


async def test_what_is_not_taken_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """What a carrier does not take at once is written later, and nothing that is given until then overtakes it."""
    near, far = trio.testing.memory_stream_pair()
    carrier = Reluctant(near, [5, 10**6])
    async with serve_line(carrier, silence=3) as line:
        line.post([("FIRST",)], print)
        line.post([("SECOND",)], print)
        with trio.move_on_after(1):
            await line.execute("THIRD")
        assert carrier.taken == packed("FIRST")[:5]
        carrier.let.set()
        await settle()
        assert carrier.taken == packed("FIRST") + packed("SECOND") + packed("THIRD")
        line.post([("LAST",)], print)
        assert carrier.taken.endswith(packed("LAST"))
    await far.aclose()


async def test_what_is_given_while_the_rest_is_written(autojump_clock: trio.testing.MockClock) -> None:
    """What is given while the rest of something is being written is written next."""
    near, far = trio.testing.memory_stream_pair()
    carrier = Reluctant(near, [0])
    async with serve_line(carrier, silence=3) as line:
        line.post([("FIRST",)], print)
        await settle()
        line.post([("SECOND",)], print)
        carrier.let.set()
        await settle()
        assert carrier.taken == packed("FIRST") + packed("SECOND")
    await far.aclose()


async def test_a_carrier_that_breaks_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """A carrier that breaks where something is given loses the line, and who has given it finds out when it waits."""

    class Breaking(Reluctant):
        def send_now(self, data: bytes) -> int:
            raise trio.BrokenResourceError from OSError("no route")

    near, far = trio.testing.memory_stream_pair()
    async with serve_line(Breaking(near, []), silence=3) as line:
        line.post([("A",)], print)
        assert line.lost is not None
        assert line.lost.reason == "the connection is broken: no route"
    async with serve_line(Breaking(near, []), silence=3) as line:
        with pytest.raises(LineLost, match="broken: no route"):
            await line.execute("A")
    await far.aclose()


async def test_an_error_is_raised_by_execute(autojump_clock: trio.testing.MockClock) -> None:
    """A server's error is raised with its code and its text, and the line goes on."""
    async with scripted() as (line, server):
        await server.send_all(b"")
        with pytest.raises(RedisReplyError, match=r"^WRONGTYPE not a list$") as caught:
            await answered(line, server, b"-WRONGTYPE not a list\r\n")
        assert (caught.value.code, caught.value.text) == ("WRONGTYPE", "not a list")
        assert await answered(line, server, b"+OK\r\n") == b"OK"


async def answered(line: RedisLine, server: Pair, reply: bytes) -> Any:
    """Execute something that is answered so."""

    async def answer() -> None:
        await server.receive_some()
        await server.send_all(reply)

    result: Any = None
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        try:
            result = await line.execute("X")
        except (LineLost, RedisReplyError) as caught:
            error = caught
            nursery.cancel_scope.cancel()
    if error is not None:
        raise error
    return result


async def test_a_bad_argument_is_refused_before_anything_is_written(autojump_clock: trio.testing.MockClock) -> None:
    """An argument that is neither text nor bytes nor a number is a TypeError, and none of its pipeline is written."""
    async with scripted() as (line, server):
        with pytest.raises(TypeError):
            await line.pipeline([("A",), ("B", None)])  # type: ignore[list-item]  # on purpose
        assert await answered(line, server, b":1\r\n") == 1


async def test_a_cancelled_call_leaves_its_reply_behind(autojump_clock: trio.testing.MockClock) -> None:
    """The reply to a call that was cancelled is dropped, and the next call gets its own."""
    async with scripted() as (line, server):
        with trio.move_on_after(1):
            await line.pipeline([("A",), ("B",)])
        assert await answered(line, server, b":1\r\n:2\r\n:3\r\n") == 3


async def test_cancelled_before_it_began(autojump_clock: trio.testing.MockClock) -> None:
    """A call in a scope that is cancelled already writes nothing."""
    async with scripted() as (line, server):
        with trio.CancelScope() as scope:
            scope.cancel()
            await line.execute("A")
        assert scope.cancelled_caught
        assert await answered(line, server, b":1\r\n") == 1


async def test_a_torn_reply_is_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """A connection that ends in the middle of a reply loses the line for those who wait, and those who come."""
    async with scripted() as (line, server), trio.open_nursery() as nursery:
        told: list[str] = []

        async def ask() -> None:
            with pytest.raises(LineLost) as caught:
                await line.execute("A")
            told.append(str(caught.value))

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await settle()
        await server.send_all(b"$10\r\nabc")
        await server.aclose()
        assert (await line.wait_lost()).reason == "the server has closed the connection"
        await settle()
        assert len(told) == 2
        await ask()
        assert set(told) == {"the server has closed the connection"}


@pytest.mark.parametrize(
    ("said", "reason", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "no Redis server", None),
        (b":1\r\n:2\r\n:3\r\n", "what nobody has asked", None),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING Redis is loading", "LOADING"),
        (b"-READONLY You can't write against a read only replica.\r\n", "READONLY", "READONLY"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH", "NOAUTH"),
    ],
)
async def test_what_breaks_a_line(said: bytes, reason: str, code: str | None, autojump_clock: trio.testing.MockClock) -> None:
    """No Redis, a reply too many, a server that cannot be worked with now: the line is lost, and says why."""
    async with scripted() as (line, server):
        with suppress(LineLost):  # a reply too many has its caller's before it
            await answered(line, server, said)
        lost = await line.wait_lost()
        assert reason in lost.reason
        assert lost.code == code
        assert line.lost is lost


async def test_silence(autojump_clock: trio.testing.MockClock) -> None:
    """A server that says nothing for as long as a call allows has lost the line; a slow one that goes on has not."""
    async with scripted(silence=3) as (line, server):

        async def drip() -> None:
            await server.receive_some()
            for byte in b"$4\r\nslow\r\n":
                await trio.sleep(2)
                await server.send_all(bytes([byte]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            assert await line.execute("A") == b"slow"
        await trio.sleep(100)  # nobody waits: this is no silence
        start = trio.current_time()
        with pytest.raises(LineLost, match="silent for 7 s"):
            await line.execute("A", silence=7)
        assert trio.current_time() - start == 7
        with pytest.raises(LineLost, match="silent for 7 s"):
            await line.execute("B")


async def test_a_server_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    """A command that cannot be written because the other side does not read loses the line in time."""
    near, far = trio.testing.lockstep_stream_pair()
    async with serve_line(StreamCarrier(near), silence=3) as line:
        with pytest.raises(LineLost, match="silent for 3 s"):
            await line.execute("A")
    await far.aclose()


async def test_a_broken_stream(autojump_clock: trio.testing.MockClock) -> None:
    """A stream that breaks while it is written to or read from loses the line with the cause."""

    async def breaks() -> None:
        raise trio.BrokenResourceError from OSError("no route")

    near, _ = trio.testing.memory_stream_pair()
    near.send_stream.send_all_hook = breaks
    async with serve_line(StreamCarrier(near), silence=3) as line:
        with pytest.raises(LineLost, match="broken: no route"):
            await line.execute("A")
    near, _ = trio.testing.memory_stream_pair()
    near.receive_stream.receive_some_hook = breaks
    async with serve_line(StreamCarrier(near), silence=3) as line:
        assert (await line.wait_lost()).reason == "the connection is broken: no route"


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    """An error of the block's own, its cause and its notes come out of the block unchanged, and in no group."""
    boom = ValueError("boom")
    with pytest.raises(ValueError, match="boom") as caught:
        async with scripted():
            raise boom from KeyError("why")
    assert caught.value is boom
    assert isinstance(boom.__cause__, KeyError)
    with pytest.raises(ExceptionGroup) as group:
        async with scripted():
            raise ExceptionGroup("mine", [boom])
    assert group.value.message == "mine"


async def test_cancelling_the_block(autojump_clock: trio.testing.MockClock) -> None:
    """A cancel passes through the block, and a real error beside it is not lost."""
    with trio.move_on_after(1) as scope:
        async with scripted() as (line, _):
            await line.execute("A", silence=100)
    assert scope.cancelled_caught
    with pytest.raises(KeyError), trio.move_on_after(1):
        async with scripted() as (line, _):
            try:
                await line.execute("A", silence=100)
            finally:
                raise KeyError("cleanup")


async def test_after_the_block(autojump_clock: trio.testing.MockClock) -> None:
    """A line whose block was left is lost, and its stream closed."""
    async with scripted() as (line, server):
        pass
    with pytest.raises(LineLost, match="the line was closed"):
        await line.execute("A")
    assert bytes(await server.receive_some()) == b""


def test_without_hiredis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, whoever makes a transport, or opens a line, is told what to install."""
    monkeypatch.setitem(sys.modules, "hiredis", None)
    for needs in (load_hiredis, lambda: RedisTransport(RedisSettings(), bus="b")):
        with pytest.raises(ImportError, match=r"pip install 'trioworkers\[redis\]'"):
            needs()


async def visit(settings: RedisSettings) -> Any:
    """Open a line and say hello."""
    async with open_line(settings, name="x", silence=PATIENCE) as line:
        return await line.execute("PING")


# -- a server that is none ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def pretender(*replies: bytes) -> AsyncIterator[RedisSettings]:
    """A server that gives these replies, one for each piece of data that comes, and then is silent."""

    async def pretend(stream: trio.SocketStream) -> None:
        async with stream:
            for reply in replies:
                await stream.receive_some()
                await stream.send_all(reply)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, pretend, [listener])
        yield RedisSettings(host="127.0.0.1", port=listener.socket.getsockname()[1], connect_timeout=0.2)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("replies", "error", "complaint"),
    [
        ([b"SSH-2.0-OpenSSH\r\n"], LineLost, "no Redis server"),
        ([b"+OK\r\n"], Refused, "no Redis server"),
        ([b"-ERR unknown command `HELLO`, with args beginning with: `2`, \r\n"], Refused, "older than Redis 6.2"),
        ([HELLO % (5, b"6.0.9")], Refused, "Redis 6.0, which is older than 6.2"),
        ([HELLO % (3, b"new")], Refused, "no Redis server"),
        ([HELLO % (5, b"7.0.9"), b"-ERR DB index is out of range\r\n"], Refused, "out of range"),
        ([HELLO % (5, b"7.0.9"), b"+OK\r\n", b"-LOADING\r\n"], LineLost, "LOADING"),
        ([b"-DENIED Redis is running in protected mode\r\n"], LineLost, "protected mode"),
        ([], LineLost, "no answer within 0.2 s|silent for 0.2 s"),
    ],
)
async def test_who_is_not_let_in(replies: Sequence[bytes], error: type[Exception], complaint: str) -> None:
    """What is no Redis, an old one, or one that refuses, is found out when the line is opened; one that loads is told from it."""
    async with pretender(*replies) as settings:
        with pytest.raises(error, match=complaint):
            await visit(settings)


async def test_nobody_there(tmp_path: Path) -> None:
    """Where nobody listens the line is lost, with the system's own words, each once."""
    for settings, words in (
        (RedisSettings(host="127.0.0.1", port=free_port()), "refused"),
        (RedisSettings(unix_path=str(tmp_path / "none")), "No such file"),
    ):
        with pytest.raises(LineLost, match=words) as caught:
            await visit(settings)
        assert str(caught.value).count(words) == 1


# -- a real server --------------------------------------------------------------------------------------------------------


async def test_tcp_and_unix(redis_server: RedisServer) -> None:
    """By TCP and by unix socket one is in the database one has named, under one's name."""
    for settings in (
        attrs.evolve(redis_server.settings, db=3),
        RedisSettings(unix_path=str(redis_server.socket), db=3),
    ):
        async with open_line(settings, name="the reader\n", silence=PATIENCE) as line:
            await line.execute("SET", "key", b"\x00value")
            assert await line.execute("GET", "key") == b"\x00value"
            info = await line.execute("CLIENT", "INFO")
            assert b"db=3" in info
            assert b"name=the_reader_ " in info


async def test_the_time_to_connect_is_over_then(redis_server: RedisServer) -> None:
    """A line that is open stays open: the time that connecting may take is no limit to it."""
    async with open_line(attrs.evolve(redis_server.settings, connect_timeout=0.5), name="x", silence=PATIENCE) as line:
        since = trio.current_time()
        await until(lambda: trio.current_time() - since > 0.7)
        assert await line.execute("PING") == b"PONG"


async def test_passwords(tmp_path: Path) -> None:
    """The right password of the default user or of another one is let in; a wrong one, or none, is refused, and not shown."""
    acl = tmp_path / "users.acl"
    acl.write_text("user default on >secret ~* &* +@all\nuser bob on >pw@/ ~* &* +@all\n")
    async with RedisServer(tmp_path, "--aclfile", str(acl)) as server:
        given: list[tuple[str | None, str | None]] = [(None, "secret"), ("bob", "pw@/")]
        for user, password in given:
            settings = attrs.evolve(server.settings, username=user, password=password)
            async with open_line(settings, name="x", silence=PATIENCE) as line:
                assert await line.execute("ACL", "WHOAMI") == (user or "default").encode()
        given = [(None, None), ("bob", "wr0ng")]
        for user, password in given:
            settings = attrs.evolve(server.settings, username=user, password=password)
            with pytest.raises(Refused, match="wrong user or password" if password else "a password is needed") as caught:
                await visit(settings)
            assert "wr0ng" not in str(caught.value)


@attrs.frozen
class Papers:
    """Certificates, as files."""

    authority: Path
    server: Path
    client: Path
    other: Path


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """An authority, what it has certified, and another authority."""
    folder = tmp_path_factory.mktemp("papers")
    found = Papers(*(folder / name for name in ("ca.pem", "server.pem", "client.pem", "other.pem")))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(found.authority))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(found.server))
    authority.issue_cert("someone@example.org").private_key_and_cert_chain_pem.write_to_path(str(found.client))
    trustme.CA().cert_pem.write_to_path(str(found.other))
    return found


async def test_tls(tmp_path: Path, papers: Papers) -> None:
    """A line is encrypted, checks the server's certificate and its host name, and shows one of its own."""
    async with RedisServer(tmp_path, tls=(papers.server, papers.server, papers.authority)) as server:
        good = RedisSettings(
            host="localhost",
            port=server.port,
            tls=True,
            ca_file=str(papers.authority),
            cert_file=str(papers.client),
            connect_timeout=9,
        )
        for settings in (good, attrs.evolve(good, host="127.0.0.1", check_hostname=False)):
            async with open_line(settings, name="x", silence=PATIENCE) as line:
                assert await line.execute("ECHO", "x" * 100_000) == b"x" * 100_000
        for settings, complaint in (
            (attrs.evolve(good, host="127.0.0.1"), "TLS.*mismatch"),
            (attrs.evolve(good, ca_file=str(papers.other)), "TLS.*certificate"),
            (attrs.evolve(good, ca_file=None), "TLS.*certificate"),
            (attrs.evolve(good, ca_file=str(tmp_path / "none")), "TLS.*No such file"),
            (attrs.evolve(good, cert_file=str(papers.authority)), "TLS: the certificates cannot be used"),
            (attrs.evolve(good, cert_file=None), "TLS|broken|closed"),
            (RedisSettings(host="127.0.0.1", port=server.port), "closed|broken"),
        ):
            with pytest.raises((Refused, LineLost), match=complaint):
                await visit(settings)


async def test_a_handshake_that_is_broken_off() -> None:
    """A connection that is closed in the middle of a handshake is a line that is lost, and may be tried again."""

    async def hang_up(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, hang_up, [listener])
        with pytest.raises(LineLost, match=r"TLS: .* broken"):
            await visit(RedisSettings(host="127.0.0.1", port=listener.socket.getsockname()[1], tls=True))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (ssl.SSLEOFError("EOF"), LineLost),
        (ssl.SSLZeroReturnError("closed"), LineLost),
        (ConnectionResetError("reset"), LineLost),
        (None, LineLost),
        (ssl.SSLCertVerificationError("whose?"), Refused),
        (ssl.SSLError("wrong version"), Refused),
    ],
    ids=repr,
)
def test_what_ends_a_handshake(cause: Exception | None, kind: type[Exception]) -> None:
    """However OpenSSL puts it that the other side has gone, it may be tried again; what it complains of is refused."""
    error = trio.BrokenResourceError()
    error.__cause__ = cause
    assert type(_handshake_failed(error)) is kind


async def test_tls_with_a_server_that_has_none(redis_server: RedisServer) -> None:
    """A server that does not encrypt is refused by who wants it to."""
    settings = attrs.evolve(redis_server.settings, tls=True, connect_timeout=0.3)
    with pytest.raises((Refused, LineLost), match="TLS"):
        await visit(settings)


async def test_loading(redis_server: RedisServer, tmp_path: Path) -> None:
    """While the server loads its data a line cannot be opened, and the loss says LOADING; afterwards it can."""
    await need_setting(redis_server, "loading-process-events-interval-bytes")
    async with RedisServer(tmp_path / "other", "--appendonly", "yes", "--appendfsync", "always") as server:
        async with open_line(server.settings, name="x", silence=PATIENCE) as line:
            await line.pipeline([("SET", f"key{number}", "x") for number in range(5000)])
            await line.execute("BGREWRITEAOF")
        await server.kill()
        server.options += ["--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"]
        await server.start(loaded=False)
        with pytest.raises(LineLost, match="LOADING") as caught:
            await visit(server.settings)
        assert caught.value.code == "LOADING"
        await server.wait_until_it_answers(loaded=True)
        assert await visit(server.settings) == b"PONG"


CANCELLED_AT = (0, 0, 0, 1, 1, 1, 2, 3, -1, -1)


async def test_a_storm_of_cancels(redis_server: RedisServer) -> None:
    """Of thousands of calls, most cancelled at every point in their lives, none gets a reply that is not its own."""
    right: list[int] = []
    cancelled: list[int] = []

    async def ask(line: RedisLine, number: int, scope: trio.CancelScope) -> None:
        with scope:
            words = [f"{number}-{part}" for part in range(1 + number % 3)]
            assert await line.pipeline([("ECHO", word) for word in words]) == [word.encode() for word in words]
            right.append(number)
        if scope.cancelled_caught:
            cancelled.append(number)

    async with open_line(redis_server.settings, name="x", silence=PATIENCE) as line:
        for first in range(0, 6000, 100):
            scopes = {number: trio.CancelScope() for number in range(first, first + 100)}
            async with trio.open_nursery() as nursery:
                for number, scope in scopes.items():
                    nursery.start_soon(ask, line, number, scope)
                for turn in range(6):  # a reply takes two turns at least; two in ten are not cancelled at all
                    await trio.lowlevel.checkpoint()
                    for number, scope in scopes.items():
                        if CANCELLED_AT[number % 10] == turn:
                            scope.cancel()
        assert await line.execute("ECHO", "last") == b"last"
        assert line.lost is None
    assert len(right) + len(cancelled) == 6000
    assert len(cancelled) >= 2000
    assert len(right) >= 100


async def test_a_killed_server(redis_server: RedisServer) -> None:
    """Everybody who waits is told at once that the line is lost, also who waits for nothing but that."""
    told: list[str] = []

    async def wait(line: RedisLine) -> None:
        with pytest.raises(LineLost):
            await line.execute("BLPOP", "nothing", 0, silence=float("inf"))
        told.append("a")

    async with open_line(redis_server.settings, name="x", silence=PATIENCE) as line, trio.open_nursery() as nursery:
        nursery.start_soon(wait, line)
        nursery.start_soon(wait, line)
        await settle()
        await redis_server.kill()
        with trio.fail_after(PATIENCE):
            await line.wait_lost()
    assert told == ["a", "a"]


async def test_a_paused_server(redis_server: RedisServer) -> None:
    """A server that is stopped is silent, which loses the line after as long as the call allows."""
    async with open_line(redis_server.settings, name="x", silence=0.1) as line:
        redis_server.pause()
        with pytest.raises(LineLost, match=r"silent for 0\.1 s"):
            await line.execute("PING")
    redis_server.resume()
