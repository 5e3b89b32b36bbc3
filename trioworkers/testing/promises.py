"""The promises, watched: observers that know what may follow what, and write down what contradicts it.

They fold the stream of events that every observer can have; no code runs for them that does not run otherwise. They are told in the
middle of things, so they never raise there: they note, and :meth:`Promises.check` raises between two steps. The letters are those of
the page of guarantees; L7 is what :meth:`BaseWorker.add_workers` says of failures: who dies of an error takes its parent with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import trio

from ..observers import Observer
from ..runner import WorkerRunner
from ._ledger import INF, Ledger
from ._promised_hooks import HookPromises
from ._promised_jobs import JobPromises
from ._promised_lives import ROLES as ROLES
from ._promised_lives import LifePromises


class BrokenPromiseError(AssertionError):
    """A promise was broken; the text begins with its letter and number."""


class Promises:
    """Watches over a runner and all its workers.

    ::

        promises = Promises(runner)
        ...                          # let something happen
        promises.check()             # raises BrokenPromiseError

    Args:
        runner: The runner; it must not run yet. This adds itself to the observers of its bus.
        shutdown_timeout: How long an end may take, seconds, if that is less than the runner says.
        may_leave_behind: Whether ``cancel_grace`` is used, so that a handler may run on when its asker waits no more.
        may_shield: Whether askers and handlers shield themselves from being cancelled, so that a deadline may pass unheard.
    """

    def __init__(
        self,
        runner: WorkerRunner,
        *,
        shutdown_timeout: float = INF,
        may_leave_behind: bool = False,
        may_shield: bool = False,
    ) -> None:
        self.runner = runner
        self.failed: bool = False
        timeout = min(shutdown_timeout, runner._shutdown_timeout)  # noqa: SLF001 - of this package, and nobody else's business
        self._ledger = Ledger(runner, timeout, may_shield=may_shield)
        self._lives = LifePromises(self._ledger)
        self._hooks = HookPromises(self._ledger)
        self._jobs = JobPromises(self._ledger, may_leave_behind=may_leave_behind)
        self._parts: tuple[Observer, ...] = (self._lives, self._hooks, self._jobs)
        for worker in runner.statistics().workers:
            life = self._ledger.begin(worker.name, worker.parent)
            life.state, life.active = worker.state, worker.active
        for part in self._parts:
            runner.bus.add_observer(part)

    @property
    def broken(self) -> list[str]:
        """What was found broken since the last look."""
        return self._ledger.broken

    @property
    def tally(self) -> Counter[str]:
        """How often what happened."""
        return self._ledger.tally

    def check(self) -> None:
        """What must be true at any moment between two steps.

        Raises:
            BrokenPromiseError: Something is not, or was not at some moment since the last look.
        """
        self._lives.check()
        self._hooks.check()
        self._jobs.check()
        self._complain()

    def check_tree(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        """L4: whoever owns a task is around it; see :meth:`World.tasks`."""
        self._lives.check_tree(tasks)
        self._complain()

    def check_rest(self) -> None:
        """What must be true when nothing can go on without time passing.

        Raises:
            BrokenPromiseError: Something is not.
        """
        self.check()
        self._lives.check_rest()
        self._hooks.check_rest()
        self._jobs.check_rest()
        self._complain()

    def check_over(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        """What must be true when the runner has returned. Nobody watches any more then.

        Raises:
            BrokenPromiseError: Something is left, or was never decided.
        """
        self._lives.check_over()
        self._jobs.check_over()
        self._check_left(tasks)
        self._leave()
        self._complain()

    def _leave(self) -> None:
        """There is nothing to see any more. Whoever has raised has left before, and has seen nothing since."""
        parts, self._parts = self._parts, ()
        for part in parts:
            try:
                self.runner.bus.remove_observer(part)
            except LookupError:
                self._ledger.blame("L2", "one of those who watch has raised: see the log")

    def _check_left(self, tasks: Iterator[tuple[int, trio.lowlevel.Task]]) -> None:
        ledger, bus = self._ledger, self.runner.bus.statistics()
        left = [task.name for _, task in tasks if task.name.startswith(ROLES)]
        if left:
            ledger.blame("L4", f"tasks are left: {left}")
        if bus.subscribers:
            ledger.blame("L5", f"{bus.subscribers} subscriptions are left")
        if bus.waiting:
            ledger.blame("J7", f"somebody still waits in a send: {bus.waiting}")
        if self.runner.registry.waiting():
            ledger.blame("J7", f"somebody still waits for workers: {self.runner.registry.waiting()}")

    def _complain(self) -> None:
        if self._ledger.broken:
            broken, self._ledger.broken = self._ledger.broken, []
            self.failed = True
            raise BrokenPromiseError("\n".join(dict.fromkeys(broken)))
