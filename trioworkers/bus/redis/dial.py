"""Opening a line: a stream over TCP, TLS or a unix socket, and the first words on it."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from ..._leaves import leaves
from .carrier import Carrier, SocketCarrier, StreamCarrier
from .line import LineLost, RedisLine, serve_line
from .replies import Argument, RedisReplyError, Reply, load_hiredis
from .settings import RedisSettings

OLDEST: Final = (6, 2)
"""The oldest version that knows the commands used here."""


class Refused(Exception):  # noqa: N818 - the server's doing
    """The server is there and will not have us, or cannot serve us: trying again would not help."""


@asynccontextmanager
async def open_line(settings: RedisSettings, *, name: str, silence: float) -> AsyncIterator[RedisLine]:
    """Open a line: connected, let in, in its database, and the server known to be young enough and to have loaded its data.

    ::

        async with open_line(RedisSettings(), name="planner", silence=5) as line:
            print(await line.execute("PING"))

    What the block raises comes out as it is, in no group.

    Args:
        settings: Where to, and as whom.
        name: What the server calls the line in its list of clients.
        silence: How many seconds the server may be silent while a call waits.

    Raises:
        LineLost: It cannot be reached, or not yet.
        Refused: It is no Redis, an old one, or will not let us in.
        ImportError: hiredis is not installed.
    """
    load_hiredis()
    with trio.CancelScope(deadline=trio.current_time() + settings.connect_timeout) as opening:
        carrier = await _connect(settings)
        async with serve_line(carrier, silence=silence) as line:
            await _introduce(line, settings, name)
            opening.deadline = float("inf")
            yield line
    if opening.cancelled_caught:
        raise LineLost(f"no {'answer by TLS' if settings.tls else 'answer'} within {settings.connect_timeout:g} s")


async def _connect(settings: RedisSettings) -> Carrier:
    try:
        if settings.unix_path is not None:
            return SocketCarrier.out_of(await trio.open_unix_socket(settings.unix_path))
        tcp = await trio.open_tcp_stream(settings.host, settings.port)
    except OSError as error:
        causes = dict.fromkeys(map(str, leaves(error.__cause__ or error)))  # one for each address, often the same
        raise LineLost(f"it cannot be reached: {'; '.join(causes)}") from error
    return StreamCarrier(await _encrypt(tcp, settings)) if settings.tls else SocketCarrier.out_of(tcp)


async def _encrypt(tcp: trio.SocketStream, settings: RedisSettings) -> trio.SSLStream[trio.SocketStream]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(trio.aclose_forcefully, tcp)
        try:
            stream = trio.SSLStream(tcp, _context(settings), server_hostname=settings.host, https_compatible=True)
            await stream.do_handshake()
        except OSError as error:  # so is ssl.SSLError: a file is missing, or holds something else
            raise Refused(f"TLS: the certificates cannot be used: {error}") from error
        except trio.BrokenResourceError as error:
            raise _handshake_failed(error) from error
        stack.pop_all()
    return stream


def _context(settings: RedisSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ca_file)
    context.check_hostname = settings.check_hostname
    if settings.cert_file is not None:
        # A password, so that a key that needs one is an error and not a question at the terminal.
        context.load_cert_chain(settings.cert_file, settings.key_file, password="")
    return context


def _handshake_failed(error: trio.BrokenResourceError) -> Exception:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError) and not isinstance(
        cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)
    ):  # which of the two, varies
        return Refused(f"TLS: {cause}")
    return LineLost(f"TLS: the connection was broken during the handshake: {cause or error}")


async def _introduce(line: RedisLine, settings: RedisSettings, name: str) -> None:
    hello: list[Argument] = ["HELLO", 2]
    if settings.password is not None:
        hello += ["AUTH", settings.username or "default", settings.password]
    try:
        _check_version(await line.execute(*hello, "SETNAME", re.sub(r"[^!-~]", "_", name)))
        await line.execute("SELECT", settings.db)
        await line.execute("PING")  # which, other than the two before it, is refused while the server loads its data
    except RedisReplyError as error:
        raise Refused(_in_words(error)) from error
    except LineLost as lost:
        if lost.code == "NOAUTH":
            raise Refused("a password is needed") from None
        raise


def _in_words(error: RedisReplyError) -> str:
    if "unknown command" in error.text.lower() and "hello" in error.text.lower():
        return "the server is older than Redis 6.2"
    return f"wrong user or password: {error}" if error.code == "WRONGPASS" else f"the server says {error}"


def _check_version(hello: Reply) -> None:
    """Look at the reply to HELLO: names and values in turn."""
    facts = dict(zip(hello[::2], hello[1::2], strict=True)) if isinstance(hello, list) else {}
    version = facts.get(b"version")
    numbers = re.match(rb"(\d+)\.(\d+)", version) if isinstance(version, bytes) else None
    if numbers is None:
        raise Refused("what answers there is no Redis server")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise Refused(f"the server is Redis {numbers[0].decode()}, which is older than 6.2")
