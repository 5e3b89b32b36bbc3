"""What a bus needs of that which turns messages into bytes."""

from __future__ import annotations

from typing import Protocol

from ..messages import BusMessage


class Serializer(Protocol):
    """Turns messages into bytes and back: what :meth:`dumps` takes, :meth:`loads` gives back as it was."""

    def dumps(self, message: BusMessage) -> bytes:
        """Return the message as bytes.

        Raises:
            WireError: It cannot be sent.
        """
        ...

    def loads(self, data: bytes) -> BusMessage:
        """Return the message in the bytes.

        Raises:
            WireError: There is none; nothing else is ever raised, whatever the bytes.
        """
        ...
