"""What carries the bytes of a line: a socket, written to without a turn of the scheduler, or any stream.

A turn of the scheduler costs more than what most commands take to be written. So who has something to write hands it to the socket
itself, as a rule all of it; :meth:`Carrier.send_now` says how much was taken, and nothing is written twice or left out.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final, Protocol, Self

import attrs
import trio

_CHUNK: Final = 65536


class Carrier(Protocol):
    """Bytes either way. Whatever breaks it raises :class:`trio.BrokenResourceError`, with the cause."""

    def send_now(self, data: bytes) -> int:
        """Send as much as goes without waiting, from the front; return how many bytes that was."""
        ...

    async def send_all(self, data: bytes) -> None:
        """Send all of it. If it is cancelled, nobody knows how much was sent."""
        ...

    async def receive_some(self) -> bytes | bytearray:
        """Wait for some bytes; none: the other side has closed. If it is cancelled, nothing is lost."""
        ...

    def wake_at(self, size: int) -> None:
        """Let :meth:`receive_some` wait, from now on, until so many bytes have come (or the end), if that can be had."""
        ...

    async def aclose(self) -> None:
        """Close it, by force: without waiting."""
        ...


class SocketCarrier:
    """A socket.

    Args:
        sock: It is connected, does not block, and belongs to the carrier from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._size = 1

    @classmethod
    def out_of(cls, stream: trio.SocketStream) -> Self:
        """Take the socket out of a stream, which is closed then."""
        sock = socket.socket(fileno=stream.socket.detach())
        sock.settimeout(0)
        return cls(sock)

    def send_now(self, data: bytes | memoryview) -> int:
        """See :meth:`Carrier.send_now`."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes) -> None:
        """See :meth:`Carrier.send_all`."""
        rest = memoryview(data)
        while rest:
            await trio.lowlevel.wait_writable(self._socket)
            rest = rest[self.send_now(rest) :]

    async def receive_some(self) -> bytes:
        """See :meth:`Carrier.receive_some`. It waits first: what comes is seldom there already."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    def wake_at(self, size: int) -> None:
        """See :meth:`Carrier.wake_at`. Linux does so for TCP; elsewhere one is woken for nothing."""
        if size != self._size:
            self._size = size
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    async def aclose(self) -> None:
        """See :meth:`Carrier.aclose`."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        await trio.lowlevel.cancel_shielded_checkpoint()


@attrs.frozen
class StreamCarrier:
    """Any stream: what is to be sent waits for its turn.

    Args:
        stream: It belongs to the carrier from now on.
    """

    stream: trio.abc.Stream

    def send_now(self, data: bytes) -> int:
        """See :meth:`Carrier.send_now`: nothing."""
        del data
        return 0

    async def send_all(self, data: bytes) -> None:
        """See :meth:`Carrier.send_all`."""
        await self.stream.send_all(data)

    async def receive_some(self) -> bytes | bytearray:
        """See :meth:`Carrier.receive_some`."""
        return await self.stream.receive_some(_CHUNK)

    def wake_at(self, size: int) -> None:
        """See :meth:`Carrier.wake_at`: it cannot be had."""

    async def aclose(self) -> None:
        """See :meth:`Carrier.aclose`."""
        await trio.aclose_forcefully(self.stream)
