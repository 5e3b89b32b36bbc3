"""A runner inside an existing trio program."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from .._leaves import flat_group, leaves
from ..bus import WorkerBus
from ..observers import Observer
from ..worker import BaseWorker
from ..worker.params import SHUTDOWN_TIMEOUT
from .runner import WorkerRunner


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_runner(
    *workers: BaseWorker,
    name: str | None = None,
    bus: WorkerBus | None = None,
    handle_sigint: bool = False,
    handle_sigterm: bool = False,
    shutdown_timeout: float = SHUTDOWN_TIMEOUT,
    observers: Iterable[Observer] = (),
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
        observers: Those who are to be told what happens.

    Raises:
        BaseExceptionGroup: What workers died of, flat. The body's own exception comes out as it is if no worker died.
        BusConnectionError: The bus cannot be reached: nothing was started.
        DuplicateWorkerError: A name is taken, here or by another runner on the bus.
    """
    runner = WorkerRunner(
        name=name,
        bus=bus,
        handle_sigint=handle_sigint,
        handle_sigterm=handle_sigterm,
        shutdown_timeout=shutdown_timeout,
        observers=observers,
    )
    body = _Body()
    try:
        await runner.add_workers(*workers)
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(partial(runner.run, auto_end=False))
            except Exception as error:
                if not isinstance(error, ExceptionGroup):  # it is not workers that have failed, but the bus: nothing was started
                    body.left_with(error)
                raise
            try:
                yield runner
            except BaseException as error:
                body.left_with(error)
                runner.cancel_nowait(f"its block was left with {type(error).__name__}")
                raise
            runner.end_nowait("its block was left")
    except BaseException as error:  # noqa: BLE001, ASYNC103 - flattened and raised: nothing is swallowed
        body.outcome = error
    finally:
        runner.cancel_nowait("its block is over")  # if it never ran: its names are free again
    body.raise_outcome()


@attrs.define(eq=False, repr=False)
class _Body:
    """What came out of the block's body, and what comes out of the block."""

    error: BaseException | None = None
    outcome: BaseException | None = None
    _chain: tuple[BaseException | None, BaseException | None, bool] = (None, None, False)

    def left_with(self, error: BaseException) -> None:
        """Keep the body's exception, and what it says of its causes."""
        self.error = error
        self._chain = (error.__cause__, error.__context__, error.__suppress_context__)

    def raise_outcome(self) -> None:
        """Raise the body's own exception if there is no other, a bare Cancelled if there is nothing else, else one flat group."""
        if self.outcome is None:
            return
        if not isinstance(self.outcome, BaseExceptionGroup):
            raise self.outcome
        found = leaves(self.outcome)
        cancelled = [leaf for leaf in found if isinstance(leaf, trio.Cancelled)]
        errors = [leaf for leaf in found if not isinstance(leaf, trio.Cancelled)]
        own = [] if self.error is None else leaves(self.error)
        if self.error is not None and errors and all(any(leaf is mine for mine in own) for leaf in errors):
            try:
                raise self.error
            finally:
                self.error.__cause__, self.error.__context__, self.error.__suppress_context__ = self._chain
        if errors:
            raise flat_group("workers failed", [*errors, *cancelled[:1]])
        raise cancelled[0]
