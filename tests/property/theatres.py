"""Runners with puppets, of all shapes: what the promises are tried on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs

from trioworkers import LocalBus, WorkerRunner
from trioworkers.testing import Puppet, puppet_theatre

SHUTDOWN = 4.0


@attrs.frozen
class Theatre:
    """A runner to be made again and again.

    Args:
        name: What it is called in a test's name.
        open: Makes the runner, with its workers.
        shutdown_timeout: How long its end may take, in seconds.
    """

    name: str
    open: Callable[[], Awaitable[WorkerRunner]]
    shutdown_timeout: float = SHUTDOWN

    def __str__(self) -> str:
        return self.name


async def _open(
    roots: tuple[str, ...], children: tuple[str, ...] = (), *, shutdown_timeout: float = SHUTDOWN, capacity: float | None = None
) -> WorkerRunner:
    """A runner with these roots; ``children`` are a chain below the first one."""
    bus = LocalBus(mailbox_capacity=capacity)
    runner = WorkerRunner(name="runner", bus=bus, handle_sigint=False, handle_sigterm=False, shutdown_timeout=shutdown_timeout)
    workers = [Puppet(name) for name in roots]
    parent = workers[0]
    for name in children:
        child = Puppet(name)
        await parent.add_workers(child)
        parent = child
    await runner.add_workers(*workers)
    return runner


THEATRES = (
    Theatre("usual", puppet_theatre),
    Theatre("deep", partial(_open, ("great",), ("grand", "parent", "child", "baby"))),
    Theatre("wide", partial(_open, tuple("abcdefgh"))),
    Theatre("narrow", partial(_open, ("boss", "loner"), ("left",), capacity=2)),
    Theatre("hasty", partial(_open, ("boss", "loner"), ("left", "right"), shutdown_timeout=0.0), 0.0),
)
"""One of each: as it comes, a chain of five, eight roots, mailboxes for two messages, no time to end."""
