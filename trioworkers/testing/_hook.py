"""Who runs next: the one place that knows how trio decides it, and the only one that touches names trio keeps to itself.

Each turn, trio takes all tasks that are runnable, puts them in some order, and runs each of them for one step. When
``_ALLOW_DETERMINISTIC_SCHEDULING`` is set, which trio's own Hypothesis plugin does, that order is a ``shuffle`` by trio's own random
generator ``_r``. Both names have been there since 2019. So for as long as a simulation lives, ``_r`` is a :class:`_Switch`: on a
thread that simulates, "shuffle" asks our scheduler, and whoever may not run yet is kept for a later turn; on every other thread it is
what it was.

Whether this still works is tried out before the first simulation (:mod:`._choice`). If not, :mod:`._gate` takes over, which needs
public names only, and costs more.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, final

import trio

from ._shared import Shared
from .errors import NondeterminismError

Pick = Callable[[Sequence[trio.lowlevel.Task]], Sequence[trio.lowlevel.Task]]
"""Gets the tasks that have become runnable, perhaps none; returns those that take a step now, in order; keeps the others in mind."""


class Hook(ABC):
    """A way to decide who runs next, in one run, on the thread that made it."""

    instruments: Sequence[trio.abc.Instrument] = ()
    """What the run must be given."""

    @abstractmethod
    def is_holding(self) -> bool:
        """Whether a task is runnable that ``pick`` has not been told of. If trio could tell, it may say no."""

    @abstractmethod
    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Let trio go on by one turn, with ``pick`` deciding."""

    @abstractmethod
    def idle_waiters(self) -> bool:
        """Whether a task waits for all others to be blocked."""

    @abstractmethod
    def release(self) -> None:
        """The run is over."""


_here = threading.local()
"""Its ``pick`` is who decides on this thread in this turn; ``None`` when it has been asked."""


@final
class _Switch(random.Random):
    """Stands in for trio's generator: on a thread that simulates, a ``pick`` decides; elsewhere it is the plain generator."""

    def __init__(self, plain: random.Random) -> None:
        super().__init__(0)
        self.plain = plain

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Trio calls this each turn with the tasks that are runnable, and runs what it then finds in ``x``, from the end."""
        pick: Pick | None = getattr(_here, "pick", None)
        if pick is None:
            self.plain.shuffle(x)
        else:
            _here.pick = None
            x[:] = reversed(pick(x))

    def random(self) -> float:
        """What the plain generator says."""
        return self.plain.random()

    def uniform(self, a: float, b: float) -> float:
        """What the plain generator says."""
        return self.plain.uniform(a, b)


def _context() -> Any:
    return trio._core._run.GLOBAL_RUN_CONTEXT


@contextmanager
def _switched() -> Iterator[None]:
    run: Any = trio._core._run
    plain, was_deterministic = getattr(run._r, "plain", run._r), run._ALLOW_DETERMINISTIC_SCHEDULING
    _switch_on()
    try:
        yield
    finally:
        run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = plain, was_deterministic


def _switch_on() -> None:
    run: Any = trio._core._run
    run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = _Switch(getattr(run._r, "plain", run._r)), True


_SWITCHED = Shared(_switched)


@final
class SwitchHook(Hook):
    """The hook described above.

    Raises:
        AttributeError: This trio has no such names.
    """

    def __init__(self) -> None:
        self._context = _context()
        self._stack = ExitStack()
        self._stack.enter_context(_SWITCHED.use())

    def is_holding(self) -> bool:
        """Look into trio's run queue."""
        return bool(self._context.runner.runq)

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Let trio ask.

        Raises:
            NondeterminismError: It did not, for somebody has put another generator there; ours is put back.
        """
        _here.pick = pick
        tick()
        if _here.pick is not None and trio.lowlevel.in_trio_run():
            _switch_on()
            raise NondeterminismError("somebody has replaced trio's own random generator, by which the schedule is decided")

    def idle_waiters(self) -> bool:
        """Trio has a list of them."""
        return bool(self._context.runner.waiting_for_idle)

    def release(self) -> None:
        """Put everything back."""
        _here.pick = None
        self._stack.close()
