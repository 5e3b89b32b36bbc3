"""Read a stream of tokens, and stop in the middle: the producer is gone when the block is left.

An async generator is a stream. Credit keeps it at most a window ahead of its reader. Leaving the block with an exception cancels the
job; the generator's ``finally`` has run before the ``except`` here does.

Prints::

    Once upon a time
    the generator is closed
    stopped after 4 tokens
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import trio

from trioworkers import BaseWorker, BusJobRequestMessage, JobEvent, job, open_runner

STORY = ["Once", "upon", "a", "time", "there", "was", "a", "worker", "who", "never", "knew", "when", "to", "stop"]


class Enough(Exception):  # noqa: N818 - no error, a verdict
    """The reader has seen what it wanted."""


class Narrator(BaseWorker):
    """Tells a story, word by word."""

    @job
    async def tell(self, message: BusJobRequestMessage) -> AsyncIterator[dict[str, Any]]:
        """Yield the words."""
        try:
            for word in STORY:
                yield {"token": word}
                await trio.sleep(0.001)
        finally:
            print("the generator is closed")


async def main() -> None:
    """Read four words."""
    words: list[str] = []
    async with open_runner(Narrator("narrator")) as runner:
        try:
            async with runner.job("narrator", name="tell") as telling:
                async for event in telling:
                    if event.type == JobEvent.STREAM_DATA and event.data is not None:
                        words.append(event.data["token"])
                    if len(words) == 4:
                        print(*words)
                        raise Enough
        except Enough:
            print("stopped after", len(words), "tokens")


if __name__ == "__main__":
    trio.run(main)
