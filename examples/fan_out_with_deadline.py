"""Ask several workers at once, with one deadline, and keep what came in time.

``job_group`` asks all members and waits for all of them. With ``cancel_on_error=False`` a member that fails does not take the others
down; the deadline is one for readiness and work of all. What was answered before it is not lost: the error carries it.

Prints::

    fast answered {'price': 10}
    dear answered {'price': 99}
    slow: cancelled (timeout)
    best offer: 10
"""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from trioworkers import BaseWorker, BusJobRequestMessage, JobGroupError, job, open_runner


class Shop(BaseWorker):
    """Names its price after a while."""

    def __init__(self, name: str, *, price: int, seconds: float) -> None:
        super().__init__(name)
        self.price = price
        self.seconds = seconds

    @job
    async def quote(self, message: BusJobRequestMessage) -> dict[str, Any]:
        """Think, then answer."""
        await trio.sleep(self.seconds)
        return {"price": self.price}


async def main() -> None:
    """Collect offers for two seconds."""
    shops = [
        Shop("fast", price=10, seconds=0.5),
        Shop("dear", price=99, seconds=1),
        Shop("slow", price=5, seconds=60),
    ]
    async with open_runner(*shops) as runner:
        names = [shop.name for shop in shops]
        try:
            async with runner.job_group(*names, name="quote", timeout=2, cancel_on_error=False) as offers:
                pass
            answered, missing = offers.responses, {}
        except JobGroupError as error:
            answered, missing = error.responses, error.errors

    for name, response in answered.items():
        print(name, "answered", response)
    for name, failure in missing.items():
        print(f"{name}: {failure.status} ({failure.reason})")
    print("best offer:", min(response["price"] for response in answered.values()))


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))  # virtual time: the example need not wait for its clocks
