"""What a program raises that is no failure of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import trio

from .._leaves import leaves

_WISHES = (("unittest.case", "SkipTest"), ("hypothesis.errors", "UnsatisfiedAssumption"))
_FAILURES = (("_pytest.outcomes", "Failed"),)


def wish_in(error: BaseException) -> BaseException | None:
    """What in ``error`` wishes the whole test to stop: an interrupt, a skipped test, an assumption that does not hold."""
    wishes, failures = tuple(_loaded(_WISHES)), (Exception, trio.Cancelled, *_loaded(_FAILURES))
    return next((leaf for leaf in leaves(error) if isinstance(leaf, wishes) or not isinstance(leaf, failures)), None)


def _loaded(names: tuple[tuple[str, str], ...]) -> Iterator[type[BaseException]]:
    """Those whose modules are in use."""
    return (getattr(sys.modules[module], name) for module, name in names if module in sys.modules)
