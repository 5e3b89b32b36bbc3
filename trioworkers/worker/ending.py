"""A graceful end: what all workers that end together share."""

from __future__ import annotations

import attrs
import trio

from .._load import Load


async def wait_idle(load: Load) -> None:
    """Wait until nothing is left to do, at this very moment."""
    while load.count:
        idle = trio.Event()
        load.when_idle(idle.set)
        await idle.wait()


@attrs.define(eq=False, repr=False)
class Ending:
    """One end of one subtree.

    The worker that was asked to end makes it; all below it join it in the same instant. So there is one deadline, one reason, one
    count of what is left to do, by construction: nothing is computed twice.

    Args:
        reason: Why, in words.
        deadline: When patience is over, by trio's clock.
        load: What is left to do in the whole subtree.
        jobs: The jobs that were running when it began, as chains name them: what is asked for inside them is still answered.
    """

    reason: str | None
    deadline: float
    load: Load = attrs.field(factory=Load)
    jobs: dict[str, None] = attrs.field(factory=dict)

    def include(self, other: Ending) -> None:
        """Part of this subtree has been ending on its own account already: its work, and its jobs, count here too."""
        if other is not self and not other.load.is_part:
            other.load.join(self.load)
            self.jobs |= other.jobs

    def admits(self, chain: tuple[str, ...]) -> bool:
        """Whether a request is made inside a job that had been accepted before the end."""
        return any(job_id in self.jobs for job_id in chain)
