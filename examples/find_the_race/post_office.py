"""A mailbox with a race in it. Plain trio; thirty lines; it passes its test, always."""

from __future__ import annotations

import trio


class Mailbox:
    """One reads, others write."""

    def __init__(self) -> None:
        self.letters: list[str] = []
        self.bell = trio.Event()

    async def write(self, letter: str) -> None:
        """Put a letter in, and ring the bell."""
        for _ in ("address", "stamp", "seal"):
            await trio.lowlevel.checkpoint()
        self.letters.append(letter)
        self.bell.set()

    async def read(self) -> str:
        """Take the first letter out, waiting for it if need be."""
        while not self.letters:
            await trio.lowlevel.checkpoint()
            self.bell = trio.Event()
            await self.bell.wait()
        return self.letters.pop(0)


async def correspondence() -> None:
    """Everything that is written is read."""
    mailbox = Mailbox()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.read, name="reader")
        nursery.start_soon(mailbox.write, "hello", name="writer")
