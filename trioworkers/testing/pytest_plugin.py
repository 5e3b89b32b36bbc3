"""The plugin for pytest by name, where plugins are not loaded by themselves: ``pytest -p trioworkers.testing.pytest_plugin``.

The plugin is ``_trioworkers_pytest``. Each start of pytest loads it, so it is outside of this package, whose import takes a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
pytest_plugins: tuple[str, ...] = ("_trioworkers_pytest",)


class Simulated(Protocol):
    """The type of the fixture ``simulated``."""

    def __call__(self, async_fn: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        """Run ``async_fn(*args)`` in a trio of its own; the options are those of :func:`~trioworkers.testing.simulate`."""
        raise NotImplementedError
