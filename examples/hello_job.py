"""One worker, one job: ask, and wait for the answer.

A handler is an async method marked with ``@job``; what it returns is the response, what it raises is the job's error. The asker holds
the job as a block, and the block is left when the handler is gone.

Prints::

    {'greeting': 'Hello, Ada!'}
    error KeyError: 'name'
"""

from __future__ import annotations

from typing import Any

import trio

from trioworkers import BaseWorker, BusJobRequestMessage, JobError, job, open_runner


class Greeter(BaseWorker):
    """Greets whoever is named in the payload."""

    @job
    async def greet(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Return a greeting."""
        payload = message.payload or {}
        return {"greeting": f"Hello, {payload['name']}!"}


async def main() -> None:
    """Ask twice: once well, once badly."""
    async with open_runner(Greeter("greeter")) as runner:
        async with runner.job("greeter", name="greet", payload={"name": "Ada"}) as greeting:
            pass
        print(greeting.response)

        try:
            async with runner.job("greeter", name="greet"):
                pass
        except JobError as error:
            print(error.status, error.reason)


if __name__ == "__main__":
    trio.run(main)
