"""What carries a line takes what goes at once, and breaks in one way only."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from redis_support import until

from trioworkers.bus.redis.carrier import SocketCarrier

Ends = tuple[SocketCarrier, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A carrier, and what is at its other end."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.settimeout(0)
    with near, far:
        yield SocketCarrier(near), far


async def test_what_does_not_fit(ends: Ends) -> None:
    """As much as fits is sent at once, and then nothing; all of it, when the other side reads."""
    carrier, far = ends
    data = bytes(range(256)) * 40_000
    sent = 0
    while more := carrier.send_now(data[sent:]):
        sent += more
    assert 0 < sent < len(data)
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carrier.send_all, data[sent:])
        while len(got) < len(data):
            await trio.lowlevel.wait_readable(far)
            got += far.recv(1 << 20)
    assert got == data


async def test_what_comes(ends: Ends) -> None:
    """What comes is received, and nothing when the other side has closed; to wait may be cancelled."""
    carrier, far = ends
    with trio.move_on_after(0):
        await carrier.receive_some()
    far.send(b"ab")
    assert await carrier.receive_some() == b"ab"
    far.close()
    assert await carrier.receive_some() == b""


async def test_woken_for_nothing(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is woken although nothing has come waits again."""
    carrier, far = ends
    woken: list[object] = []

    async def wait(sock: socket.socket) -> None:
        woken.append(sock)
        if len(woken) == 2:
            far.send(b"a")
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(trio.lowlevel, "wait_readable", wait)
    assert await carrier.receive_some() == b"a"
    assert len(woken) == 2


async def test_a_broken_one() -> None:
    """What breaks a connection is a BrokenResourceError, whoever finds out."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        near.settimeout(0)
        carrier = SocketCarrier(near)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close as if the process had died
        far.close()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await carrier.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="pipe"):
            carrier.send_now(b"a")


async def test_many_bytes_or_the_end() -> None:
    """Whoever is to be woken for many bytes is woken for the end, too, and for one byte as soon as that will do."""
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    stream = await trio.open_tcp_stream(*listener[0].socket.getsockname())
    far = await listener[0].accept()
    carrier = SocketCarrier.out_of(stream)
    got: list[bytes] = []

    async def receive() -> None:
        while data := await carrier.receive_some():
            got.append(data)

    async with trio.open_nursery() as nursery:
        carrier.wake_at(4096)
        nursery.start_soon(receive)
        await far.send_all(b"a")
        carrier.wake_at(1)
        await until(lambda: got == [b"a"])
        carrier.wake_at(4096)
        await far.aclose()
    assert b"".join(got) == b"a"
    await carrier.aclose()
    await listener[0].aclose()


async def test_closing(ends: Ends) -> None:
    """Whoever waits when it is closed is told so."""
    carrier, _ = ends
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await carrier.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await carrier.aclose()
