"""What is switched on for the first that needs it and off after the last, whatever threads they are on."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import final

import attrs


@final
@attrs.define(eq=False)
class Shared:
    """A change of the whole process that several may need at once.

    Args:
        switch: Makes the change, and takes it back.
    """

    switch: Callable[[], AbstractContextManager[object]]
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    _users: int = attrs.field(default=0, init=False)
    _stack: ExitStack = attrs.field(factory=ExitStack, init=False)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Need it for a while."""
        with self._lock:
            if self._users == 0:
                self._stack.enter_context(self.switch())
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._stack.close()


@contextmanager
def _uncollected() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


UNCOLLECTED = Shared(_uncollected)
"""Garbage is not collected: when that happens depends on what ran before."""
