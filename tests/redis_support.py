"""A real Redis server of the tests' own, and a way to it that can be cut, blocked and slowed down."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from inspect import isawaitable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import attrs
import pytest
import trio

from trioworkers.bus.redis.dial import open_line
from trioworkers.bus.redis.settings import RedisSettings

PATIENCE = 20.0
"""How many seconds a test waits for what should take a fraction of one, on a machine that has other things to do."""


def need_redis() -> str:
    """Return the path of the server; skip the test if there is none, or fail it where there has to be one."""
    path = os.environ.get("TRIOWORKERS_REDIS_SERVER") or shutil.which("redis-server")
    if path is None:
        lack("there is no redis-server on this machine")
    return path


def lack(what: str) -> NoReturn:
    """Skip the test for want of something; fail it where that has to be there."""
    if os.environ.get("CI") or os.environ.get("TRIOWORKERS_REQUIRE_REDIS"):
        pytest.fail(f"{what}, and CI or TRIOWORKERS_REQUIRE_REDIS says there should be")
    pytest.skip(what)


async def need_setting(server: RedisServer, name: str) -> None:
    """Skip the test if the server has no such setting: it is too old."""
    async with open_line(server.settings, name="need_setting", silence=PATIENCE) as line:
        if not await line.execute("CONFIG", "GET", name):
            lack(f"there is no {name!r} in this server")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def until(condition: Callable[[], object], what: str = "what was expected") -> None:
    """Wait for a condition, which some other task or process brings about; it may be async; fail when patience ends."""
    with trio.move_on_after(PATIENCE):
        while True:
            met = condition()
            if await met if isawaitable(met) else met:
                return
            await trio.sleep(0.002)
    pytest.fail(f"waited {PATIENCE:g} s in vain for {what}")


@asynccontextmanager
async def program_running(log: Path, *command: str, cwd: Path | None = None) -> AsyncIterator[trio.Process]:
    """A process, which writes into a file, and does not outlive the block."""
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


class RedisServer:
    """A server process in a folder of its own, at a port and at a unix socket; an async context manager.

    ::

        async with RedisServer(tmp_path, "--appendonly", "yes") as server:
            ...
            await server.kill()
            await server.start()

    Args:
        folder: Where it keeps its files.
        options: More of its command line.
        tls: Certificate, key and authority (three PEM files): the port is then for encrypted connections only.
    """

    def __init__(self, folder: Path, *options: str, tls: Sequence[Path] = ()) -> None:
        self.path = need_redis()
        self.folder = folder
        self.port = free_port()
        self.socket = folder / "r.sock"
        self.options = list(options)
        if tls:
            names = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
            self.options += [word for name, file in zip(names, tls, strict=True) for word in (name, str(file))]
        self._plain = not tls
        self._process: trio.Process | None = None

    @property
    def settings(self) -> RedisSettings:
        """How to reach it by TCP."""
        return RedisSettings(host="127.0.0.1", port=self.port)

    async def start(self, *, loaded: bool = True) -> None:
        """Start it, with what it has kept if it ran before; wait until it answers, and, if so wanted, has loaded its data."""
        self.folder.mkdir(exist_ok=True)
        self.socket.unlink(missing_ok=True)
        port = ["--port", str(self.port)] if self._plain else ["--port", "0", "--tls-port", str(self.port)]
        command = [self.path, *port, "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""]
        with (self.folder / "log").open("ab") as log:
            self._process = await trio.lowlevel.open_process([*command, *self.options], stdout=log, stderr=log)
        await self.wait_until_it_answers(loaded=loaded)

    async def wait_until_it_answers(self, *, loaded: bool) -> None:
        """Wait until it does, and, if so wanted, has loaded its data."""
        await until(partial(self._answers, loaded=loaded), f"an answer of redis-server, which writes to {self.folder / 'log'}")

    async def kill(self) -> None:
        """Kill it as a crash would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def restart(self) -> None:
        """Kill it and start it again."""
        await self.kill()
        await self.start()

    def pause(self) -> None:
        """Stop it from running; its connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _answers(self, *, loaded: bool) -> bool:
        try:
            stream = await trio.open_unix_socket(str(self.socket))
        except OSError:
            return False
        async with stream:
            await stream.send_all(b"*1\r\n$4\r\nPING\r\n")
            reply = bytes(await stream.receive_some())
        return reply.startswith((b"+PONG", b"-NOAUTH")) or (not loaded and reply.startswith(b"-LOADING"))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with trio.CancelScope(shield=True):
            await self.kill()


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A server that keeps nothing when it is killed."""
    async with RedisServer(tmp_path) as server:
        yield server


@attrs.define(eq=False)
class Link:
    """One connection through a :class:`Proxy`.

    Args:
        first: What the client said first: who it is.
        near: The stream to the client.
        far: The stream to the server.
        deaf: Whether nothing of what the server says gets through, while the server hears all.
    """

    first: bytes
    near: trio.SocketStream
    far: trio.SocketStream
    deaf: bool = attrs.field(default=False, init=False)
    _hole: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @property
    def open(self) -> bool:
        """Whether bytes go through."""
        return not (self._hole or self._scope.cancel_called)

    def cut(self) -> None:
        """Close both ends."""
        self._scope.cancel()

    def swallow(self) -> None:
        """Let nothing through any more, in either direction, and close nothing."""
        self._hole = True

    async def run(self, delay: Callable[[], float]) -> None:
        """Carry bytes until it is cut or one side closes."""
        with self._scope:
            async with self.near, self.far, trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, self.near, self.far, delay)
                nursery.start_soon(self._carry, self.far, self.near, delay)

    async def _carry(self, source: trio.SocketStream, target: trio.SocketStream, delay: Callable[[], float]) -> None:
        with suppress(trio.BrokenResourceError):
            if source is self.near:
                await target.send_all(self.first)
            while data := await source.receive_some():
                await trio.sleep(delay())
                if not (self._hole or (self.deaf and source is self.far)):
                    await target.send_all(data)
        if self._hole:  # somebody who fell into a hole hears no goodbye either
            await trio.sleep_forever()
        self._scope.cancel()


@attrs.define(eq=False)
class Proxy:
    """A way to a server.

    Args:
        target: The server's port.
        port: Its own.
        delay: How many seconds each piece of data is held back.
        links: Every connection so far.
        closed: Whether new connections are closed at once.
        refused: How many were.
    """

    target: int
    port: int = 0
    delay: float = 0.0
    links: list[Link] = attrs.field(factory=list)
    closed: bool = False
    refused: int = 0

    @property
    def settings(self) -> RedisSettings:
        """How to go this way."""
        return RedisSettings(host="127.0.0.1", port=self.port, connect_timeout=1.0)

    def named(self, word: bytes) -> list[Link]:
        """Return the links that still let bytes through and whose client has said a word when it introduced itself."""
        return [link for link in self.links if word in link.first and link.open]

    async def serve(self, near: trio.SocketStream) -> None:
        """Carry one connection."""
        async with near:
            first = bytes(await near.receive_some())
            if self.closed:
                self.refused += 1
                return
            async with await trio.open_tcp_stream("127.0.0.1", self.target) as far:
                link = Link(first, near, far)
                self.links.append(link)
                await link.run(lambda: self.delay)


@asynccontextmanager
async def open_proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port."""
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
