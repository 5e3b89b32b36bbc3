"""What a worker is given to run with."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from .._checks import check_seconds

SHUTDOWN_TIMEOUT = 10.0


def _seconds(instance: object, field: attrs.Attribute[float], value: Any) -> None:
    del instance
    check_seconds(value, field.name)


@attrs.frozen(kw_only=True)
class WorkerParams:
    """The settings handed to ``run()``, and from there to the children.

    Args:
        trio_token: For threads that want to call back in; ``None`` for the present run's.
        shutdown_timeout: Seconds from the first ``end`` to the cancel of what still runs then, for the whole subtree.

    Raises:
        TypeError: A timeout that is no number.
        ValueError: A negative or NaN timeout.

    Reference: WorkerParams, which carries the event loop.
    """

    trio_token: trio.lowlevel.TrioToken | None = None
    shutdown_timeout: float = attrs.field(default=SHUTDOWN_TIMEOUT, validator=_seconds)
