"""What the extra brings: imported when it is needed, missed with a hint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needed() -> Iterator[None]:
    """Import what the extra brings in the block.

    Raises:
        ImportError: It is not installed; the message says how to.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError("a bus over Redis needs hiredis and msgspec: pip install 'trioworkers[redis]'") from error
