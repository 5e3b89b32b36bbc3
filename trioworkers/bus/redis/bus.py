"""The bus for workers on many processes and machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import attrs

from ..._checks import check_count, check_name, check_seconds
from ..._sources import IdSource
from ...messages import BusMessage
from ...wire import Serializer
from ..remote import RemoteBus
from .extra import needed
from .settings import RedisSettings

_KEY: Final = 16


@final
class RedisBus(RemoteBus):
    """A bus over a Redis server (6.2 or later, or Valkey): the workers of all runners that name the same bus can talk to each other.

    ::

        bus = RedisBus("redis://localhost", name="shop")
        async with open_runner(Till("till"), bus=bus) as runner:
            async with runner.job("stock", name="count", timeout=5) as counting:  # wherever the stock is
                pass

    Make one for each runner. Needs ``pip install 'trioworkers[redis]'``.

    Args:
        server: A URL, ``redis://user:password@host:port/db``, ``rediss://`` for TLS, ``unix:///path``; or :class:`RedisSettings`.
        name: Which bus; runners of buses with other names, on the same server, know nothing of each other.
        types: Message classes of your own, by tag; the same on all runners.
        serializer: What turns messages into bytes, instead of MessagePack; the same on all runners. It has its own ``types``.
        key: At least 16 bytes that all runners share: messages are signed, and forged ones dropped.
        connect_timeout: How many seconds the first connection may take; that of the settings if left out.
        beat: Every so many seconds, a runner says that it is alive.
        ttl: After so many seconds without that, it is taken for dead: more than twice the ``beat``.
        outage_limit: After so many seconds without a server, this runner gives up its place, and all that waits for others; ``inf``
            allowed.
        leave_timeout: How many seconds are spent on saying the last things when the runner ends.
        max_message: How many bytes a message may have.
        max_inbox: How many messages of each priority may be on their way from one runner to another; ``send`` waits if there are more.
        mailbox_capacity: See :class:`~trioworkers.WorkerBus`; it holds for senders in other runners, too.
        new_id: See :class:`~trioworkers.WorkerBus`.
        strict: See :class:`~trioworkers.WorkerBus`.

    Raises:
        TypeError, ValueError: Bad arguments; nothing is connected before the runner runs.
        ImportError: The extra is not installed.

    Reference: RedisBus, over publish and subscribe.
    """

    def __init__(
        self,
        server: str | RedisSettings = "redis://localhost:6379",
        *,
        name: str = "trioworkers",
        types: Mapping[str, type[BusMessage]] | None = None,
        serializer: Serializer | None = None,
        key: bytes | None = None,
        connect_timeout: float | None = None,
        beat: float = 1.0,
        ttl: float = 5.0,
        outage_limit: float = 30.0,
        leave_timeout: float = 5.0,
        max_message: int = 1 << 20,
        max_inbox: int = 1024,
        mailbox_capacity: float | None = None,
        new_id: IdSource | None = None,
        strict: bool = False,
    ) -> None:
        settings = server if isinstance(server, RedisSettings) else RedisSettings.from_url(server)
        if connect_timeout is not None:
            settings = attrs.evolve(settings, connect_timeout=connect_timeout)
        if serializer is not None and types is not None:
            raise ValueError("types go to the serializer, if you give one")
        if key is not None:
            _check_key(key)
        with needed():
            from ...wire.packed import PackedCodec  # noqa: PLC0415 - the extra is needed from here on
            from .replies import load_hiredis  # noqa: PLC0415 - as above
            from .transport import RedisTransport  # noqa: PLC0415 - as above

            load_hiredis()
        super().__init__(
            RedisTransport(settings, bus=check_name(name, "a bus's name"), beat=beat, ttl=ttl, outage_limit=outage_limit),
            PackedCodec(dict(types or {})) if serializer is None else serializer,
            key=key,
            window=check_count(max_inbox, "max_inbox"),
            max_message=check_count(max_message, "max_message"),
            beat=beat,
            leave_timeout=check_seconds(leave_timeout, "leave_timeout"),
            mailbox_capacity=mailbox_capacity,
            new_id=new_id,
            strict=strict,
        )
        self.name = name
        self.settings = settings


def _check_key(key: object) -> None:
    if not isinstance(key, bytes):
        raise TypeError(f"a key must be bytes, not a {type(key).__name__}")
    if len(key) < _KEY:
        raise ValueError(f"a key must have at least {_KEY} bytes, not {len(key)}: secrets.token_bytes(32), say")
