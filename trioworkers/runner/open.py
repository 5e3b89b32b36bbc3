"""A runner inside an existing trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

from .._leaves import flat_group, leaves
from ..bus import WorkerBus
from ..worker import BaseWorker
from ..worker.params import SHUTDOWN_TIMEOUT
from .runner import WorkerRunner


@asynccontextmanager
async def open_runner(
    *workers: BaseWorker,
    name: str | None = None,
    bus: WorkerBus | None = None,
    handle_sigint: bool = False,
    handle_sigterm: bool = False,
    shutdown_timeout: float = SHUTDOWN_TIMEOUT,
) -> AsyncIterator[WorkerRunner]:
    """Run workers around a block.

    ::

        async with open_runner(Adder("adder")) as runner:
            async with runner.job("adder", name="add", payload={"numbers": [1, 2]}) as job:
                pass
            print(job.response)

    Leaving the block ends the workers gracefully; leaving it with an error, or being cancelled, cancels them. If a worker dies, the
    block is cancelled. Either way nothing runs any more when the block is left.

    Args:
        workers: Roots; ready when the block begins.
        name: The runner's name.
        bus: The bus.
        handle_sigint: Whether SIGINT ends, and then cancels, the runner (not the block).
        handle_sigterm: The same for SIGTERM.
        shutdown_timeout: Seconds from the first ``end`` to the cancel of what still runs.

    Raises:
        BaseExceptionGroup: What workers died of, flat. The body's own exception comes out as it is if no worker died.
    """
    runner = WorkerRunner(
        name=name, bus=bus, handle_sigint=handle_sigint, handle_sigterm=handle_sigterm, shutdown_timeout=shutdown_timeout
    )
    await runner.add_workers(*workers)
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(runner.run, auto_end=False))
            try:
                yield runner
            except BaseException as error:
                body_error = error
                runner.cancel_nowait(f"its block was left with {type(error).__name__}")
                raise
            runner.end_nowait("its block was left")
    except BaseException as error:  # noqa: BLE001 - flattened and raised: nothing is swallowed
        raise _flattened(error, body_error) from None  # noqa: ASYNC104 - with the Cancelled in it


def _flattened(error: BaseException, body_error: BaseException | None) -> BaseException:
    """The body's own exception if that is all there is, a bare Cancelled if that is, else one flat group."""
    found = leaves(error)
    cancelled = [leaf for leaf in found if isinstance(leaf, trio.Cancelled)]
    errors = [leaf for leaf in found if not isinstance(leaf, trio.Cancelled)]
    if not errors:
        return cancelled[0]
    if body_error is not None and all(any(leaf is own for own in leaves(body_error)) for leaf in found):
        return body_error
    return flat_group("workers failed", [*errors, *cancelled[:1]])
