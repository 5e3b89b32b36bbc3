"""Hand the conversation from one worker to another: never two active, never none.

``activate_worker(..., deactivate_self=True)`` makes this worker inactive before the other is told. If the other does not exist, that
is an error at the call and this worker stays active.

Prints::

    receptionist: how can I help?
    receptionist -> mechanic: the brakes squeak
    mechanic: let me look; the brakes squeak
    mechanic -> receptionist: all done
    receptionist: all done
    no such colleague: still active: True
"""

from __future__ import annotations

from typing import Any

import trio

from trioworkers import BaseWorker, UnknownWorkerError, WorkerActivationArgs, WorkerRunner


class Colleague(BaseWorker):
    """Knows how to pass a note on."""

    async def hand_over(self, name: str, note: str) -> None:
        """Make somebody else active, and oneself inactive."""
        print(f"{self.name} -> {name}: {note}")
        await self.activate_worker(name, args=WorkerActivationArgs({"note": note}), deactivate_self=True)


class Receptionist(Colleague):
    """Opens, and closes."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Greet at first, then wrap up."""
        if args is None:
            print("receptionist: how can I help?")
            await self.hand_over("mechanic", "the brakes squeak")
            return
        print("receptionist:", args["metadata"]["note"])
        try:
            await self.activate_worker("accountant", deactivate_self=True)
        except UnknownWorkerError:
            print("no such colleague: still active:", self.active)
        await self.end(reason="closing time")


class Mechanic(Colleague):
    """Does the work."""

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        """Look at it, and hand back."""
        assert args is not None
        print("mechanic: let me look;", args["metadata"]["note"])
        await self.hand_over("receptionist", "all done")


async def main() -> None:
    """Run until the receptionist ends the session."""
    runner = WorkerRunner()
    await runner.add_workers(Mechanic("mechanic", active=False))
    await runner.add_workers(Receptionist("receptionist"))
    await runner.run()


if __name__ == "__main__":
    trio.run(main)
