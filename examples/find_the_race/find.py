"""Find the race in ``post_office.py``: a thousand plain runs, then a handful of chosen ones.

Plain trio runs the tasks that are runnable in rounds, each once, in one of two orders. So a task that takes four steps before it acts
never acts before one that takes two, and the race is there in every program, and in no test. :func:`search` chooses who takes each
single step.

Prints::

    1000 plain runs: 0 fail
    correspondence: 7 schedules, 5 distinct, failed: DeadlockError
    found by schedule 7 (pct), 2 preemptions; shrunk to 1 in 10 runs:
      t=0.000  reader is held at Mailbox.read (post_office.py:25) while writer runs
    replay: @explore(replay="eNqLNtQx0DHQM9BRKi5JLVDSiY5WKkpNTEktUtIx1FEqL8osATJjY2MB4PUL6Q")
"""

from __future__ import annotations

import trio
import trio.testing
from post_office import correspondence

from trioworkers.testing import search


async def with_patience() -> None:
    """Plain trio would wait for ever."""
    with trio.fail_after(1):
        await correspondence()


def fails() -> bool:
    """Whether one plain run fails."""
    try:
        trio.run(with_patience, clock=trio.testing.MockClock(autojump_threshold=0))
    except trio.TooSlowError:
        return True
    return False


def main() -> None:
    """Look for it in both ways."""
    print("1000 plain runs:", sum(fails() for _ in range(1000)), "fail")
    exploration = search(correspondence)
    print(exploration)
    if exploration.failure is not None:
        print(exploration.failure.report())


if __name__ == "__main__":
    main()
