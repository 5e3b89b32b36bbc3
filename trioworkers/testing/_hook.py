"""Who runs next: the one place that knows how trio decides it, and the only one that touches names trio keeps to itself.

Each turn, trio takes all tasks that are runnable, puts them in some order, and runs each of them for one step. When
``_ALLOW_DETERMINISTIC_SCHEDULING`` is set, which trio's own Hypothesis plugin does, that order is a ``shuffle`` by trio's own random
generator ``_r``. Both names have been there since 2019. So for as long as a simulation lives, ``_r`` is a :class:`_Switch`: on a
thread that simulates, "shuffle" asks our scheduler, which may also put tasks back into trio's run queue for a later turn; on every
other thread it is what it was.

Whether this still works is tried out when the package is imported (:func:`choose_hook`). If not, :mod:`._gate` takes over, which needs
public names only, and costs more.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Any, final

import trio

Pick = Callable[[Sequence[trio.lowlevel.Task]], Sequence[trio.lowlevel.Task]]
"""Gets the tasks that are runnable (never none), returns those that take a step in this turn, in their order."""


class Hook(ABC):
    """A way to decide who runs next, in one run."""

    @property
    @abstractmethod
    def instruments(self) -> Sequence[trio.abc.Instrument]:
        """What the run must be given."""

    @abstractmethod
    def is_holding(self) -> bool:
        """Whether a task is runnable although trio does not know it."""

    @abstractmethod
    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Let trio go on by one turn, with ``pick`` deciding."""

    @abstractmethod
    def idle_waiters(self) -> bool:
        """Whether a task waits for all others to be blocked."""

    @abstractmethod
    def release(self) -> None:
        """The run is over."""


@final
class _Switch(random.Random):
    """Stands in for trio's generator: on a thread that simulates, a ``pick`` decides; elsewhere it is the plain generator."""

    def __init__(self, plain: random.Random) -> None:
        super().__init__(0)
        self.plain = plain
        self.here = threading.local()

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """Trio calls this each turn with the tasks that are runnable, and runs what it then finds in ``x``, from the end."""
        pick: Pick | None = getattr(self.here, "pick", None)
        if pick is None:
            self.plain.shuffle(x)
        elif x:
            chosen = pick(x)
            _run().GLOBAL_RUN_CONTEXT.runner.runq.extend(task for task in x if task not in chosen)
            x[:] = reversed(chosen)

    def random(self) -> float:
        """What the plain generator says."""
        return self.plain.random()

    def uniform(self, a: float, b: float) -> float:
        """What the plain generator says."""
        return self.plain.uniform(a, b)


def _run() -> Any:
    return trio._core._run


@final
class SwitchHook(Hook):
    """The hook described above.

    Raises:
        AttributeError, TypeError: This trio has no such names.
    """

    _lock = threading.Lock()
    _users = 0
    _switch: _Switch
    _saved: tuple[random.Random, bool]

    def __init__(self) -> None:
        cls = SwitchHook
        with cls._lock:
            if cls._users == 0:
                run = _run()
                cls._saved = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING
                cls._switch = _Switch(run._r)
                run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = cls._switch, True
            cls._users += 1

    def release(self) -> None:
        """The last one puts back what it found."""
        cls = SwitchHook
        with cls._lock:
            cls._users -= 1
            if cls._users == 0:
                run = _run()
                run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = cls._saved

    @property
    def instruments(self) -> Sequence[trio.abc.Instrument]:
        """None."""
        return ()

    def is_holding(self) -> bool:
        """Trio knows all that is runnable."""
        return False

    def turn(self, tick: Callable[[], object], pick: Pick) -> None:
        """Let trio go on by one turn."""
        with self._picking(pick):
            tick()

    def idle_waiters(self) -> bool:
        """Trio has a list of them."""
        return bool(_run().GLOBAL_RUN_CONTEXT.runner.waiting_for_idle)

    @contextmanager
    def _picking(self, pick: Pick) -> Iterator[None]:
        here = SwitchHook._switch.here
        here.pick = pick
        try:
            yield
        finally:
            here.pick = None
