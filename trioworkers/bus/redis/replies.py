"""Commands become bytes, bytes become replies: RESP2 by way of hiredis, without I/O.

The only module that knows hiredis; it is imported when the first line is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final, TypeAlias

import attrs

from ...errors import WorkersError
from .extra import needed

Argument: TypeAlias = str | bytes | int | float
Command: TypeAlias = tuple[Argument, ...]
Reply: TypeAlias = Any
"""``bytes``, ``int``, ``None``, a ``list`` of replies, or a :class:`RedisReplyError`."""

NOT_NOW: Final = frozenset({"LOADING", "READONLY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN", "NOAUTH", "DENIED"})
"""Errors that say nothing about the command: this server cannot be worked with, or not yet."""


class RedisReplyError(WorkersError):
    """The server has answered a command with an error.

    Args:
        code: Its first word: ``"WRONGTYPE"``, ``"NOPERM"``, ``"ERR"``.
        text: The rest.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        """As the server has put it."""
        return f"{self.code} {self.text}".strip()


class NotRedisError(WorkersError):
    """What came is not what a Redis server says."""


def load_hiredis() -> ModuleType:
    """Import hiredis.

    Raises:
        ImportError: It is not installed; the message says how to.
    """
    with needed():
        import hiredis  # noqa: PLC0415 - an extra: the base installation does without
    return hiredis


def _reply_error(message: str) -> RedisReplyError:
    code, _, text = message.partition(" ")
    return RedisReplyError(code, text)


_NOTHING: Final = object()


@attrs.define(eq=False)
class Speech:
    """One connection's two directions."""

    _hiredis: ModuleType = attrs.field(factory=load_hiredis, init=False)
    _reader: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = self._hiredis.Reader(replyError=_reply_error, notEnoughData=_NOTHING)

    def pack(self, commands: Iterable[Command]) -> bytes:
        """Return the bytes of some commands.

        Raises:
            TypeError: An argument is neither text nor bytes nor a number.
        """
        return b"".join(map(self._hiredis.pack_command, commands))

    def feed(self, data: bytes | bytearray) -> Iterator[Reply]:
        """Give the replies that are complete with this data.

        Raises:
            NotRedisError: It is no reply; nothing after it can be understood.
        """
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _NOTHING:
                yield reply
        except self._hiredis.ProtocolError as error:
            raise NotRedisError(f"what answers there is no Redis server: {error}") from error
