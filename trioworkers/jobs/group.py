"""The record of one request: who was asked, what came back, how it was decided."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from .._moment import Moment
from .._transitions import REQUEST, RequestState, advance
from ..bus.inbox import Showing
from ..bus.lane import Lane
from ..errors import BusResetError, JobError, JobGroupError, PeerDownError
from ..messages import WINDOW
from ..observers import NOBODY, Observers
from ..types import JobGroupResponse, JobOutcome, JobStatus, Loss
from .events import Events

TIMEOUT: Final = "timeout"
"""The reason of every cancellation that a deadline has caused, on either side."""


_ERRORS: Final[dict[Loss | None, type[JobError]]] = {
    None: JobError,
    Loss.PEER_DOWN: PeerDownError,
    Loss.BUS_RESET: BusResetError,
}


@attrs.define(eq=False, repr=False)
class Asked:
    """One member of a request.

    Args:
        name: The worker.
        asked: Whether the request has been sent to it.
        state: Where its job is, as we see it.
        outcome: How it ended, once decided.
        owed: How many consumed events have not been credited yet.
    """

    name: str
    asked: bool = False
    state: RequestState = RequestState.ASKED
    outcome: JobOutcome | None = None
    owed: int = 0

    def decide(self, outcome: JobOutcome) -> bool:
        """Record the outcome unless there is one already; return whether it was the first."""
        if self.state is not RequestState.ASKED:
            return False
        self.state = advance(REQUEST, self.state, "decide")
        self.outcome = outcome
        return True

    def acknowledge(self) -> None:
        """The answerer says that it is over there."""
        self.state = advance(REQUEST, self.state, "acknowledge")


@attrs.define(eq=False)
class JobGroup:
    """A request to one or more workers, as its asker sees it.

    ::

        group = await self.create_job_group_and_request_job(["a", "b"], name="work", payload=None)
        result = await group.wait()

    Args:
        job_id: The id that all its jobs share.
        worker_names: Who was asked, in order.
        cancel_on_error: Whether the first member that does not complete decides the whole group.

    Reference: JobGroup.
    """

    job_id: str
    worker_names: tuple[str, ...]
    cancel_on_error: bool = True
    deadline: float = math.inf
    _asker: str = ""
    _observers: Observers = NOBODY
    failure: str | None = attrs.field(default=None, init=False)
    late_errors: list[str] = attrs.field(factory=list, init=False)
    events: Events[Any] | None = attrs.field(default=None, init=False)
    lane: Lane[Showing] | None = attrs.field(default=None, init=False)
    held_in: Lane[Showing] | None = attrs.field(default=None, init=False)
    showing: int = attrs.field(default=0, init=False)
    when_decided: Callable[[], None] | None = attrs.field(default=None, init=False)
    window: int = attrs.field(init=False)
    _members: dict[str, Asked] = attrs.field(init=False)
    _undecided: int = attrs.field(init=False)
    _unacknowledged: int = attrs.field(init=False)
    _done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _over: Moment = attrs.field(factory=Moment, init=False)

    def __attrs_post_init__(self) -> None:
        """Nobody has answered yet."""
        self._members = {name: Asked(name) for name in self.worker_names}
        self._undecided = self._unacknowledged = len(self._members)
        self.window = max(1, WINDOW // len(self._members))  # how many events each may be ahead: they share one window

    # -- what its asker reads ----------------------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether every member's outcome is decided."""
        return not self._undecided

    @property
    def outcomes(self) -> dict[str, JobOutcome]:
        """How each member ended, so far, in the order asked."""
        return {name: member.outcome for name, member in self._members.items() if member.outcome is not None}

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        """What came from each member that answered, so far; ``{}`` for an answer without a response."""
        return {
            name: outcome.response or {}
            for name, outcome in self.outcomes.items()
            if outcome.status is JobStatus.COMPLETED or outcome.response is not None
        }

    @property
    def statuses(self) -> dict[str, JobStatus]:
        """How each member ended, so far."""
        return {name: outcome.status for name, outcome in self.outcomes.items()}

    @property
    def result(self) -> JobGroupResponse:
        """The answers as a value."""
        return JobGroupResponse(self.job_id, self.responses, self.statuses)

    @property
    def is_over(self) -> bool:
        """Whether no handler of this request can run any more."""
        return not self._unacknowledged

    async def wait(self) -> JobGroupResponse:
        """Wait until every member's outcome is decided.

        ::

            result = await group.wait()

        Cancelling the wait leaves the jobs alone.

        Raises:
            JobGroupError: Something ended it early.
        """
        await self._done.wait()
        if self.failure is not None:
            raise self.group_error()
        return self.result

    # -- how it failed -----------------------------------------------------------------------------------------------------

    def errors(self) -> dict[str, JobError]:
        """One error for each member that did not complete."""
        return {
            name: _ERRORS[outcome.loss](name, self.job_id, outcome.status, outcome.response, outcome.reason, outcome.traceback)
            for name, outcome in self.outcomes.items()
            if outcome.status is not JobStatus.COMPLETED
        }

    def group_error(self) -> JobGroupError:
        """The error of a request to several workers: what each that did not complete said, what the others answered."""
        completed = {name: response for name, response in self.responses.items() if self.statuses[name] is JobStatus.COMPLETED}
        error = JobGroupError(self.job_id, self.errors(), completed, self.failure)
        for late in self.late_errors:
            error.add_note(f"The handler on worker {late}")
        return error

    # -- written by the requester alone ------------------------------------------------------------------------------------

    def member(self, name: str) -> Asked:
        """The member of that name."""
        return self._members[name]

    def awaits(self, name: str) -> bool:
        """Whether the outcome of a member of that name is still open."""
        member = self._members.get(name)
        return member is not None and member.state is RequestState.ASKED

    def may_run(self, name: str) -> bool:
        """Whether a handler of a member of that name may still run."""
        member = self._members.get(name)
        return member is not None and member.state is not RequestState.ACKNOWLEDGED

    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline < math.inf and trio.current_time() >= self.deadline

    def undecided(self) -> list[str]:
        """Who has not been decided yet, in the order asked."""
        return [name for name in self._members if self.awaits(name)]

    def unacknowledged(self) -> list[str]:
        """Whose handler may still run, in the order asked."""
        return [name for name in self._members if self.may_run(name)]

    def decide(self, name: str, outcome: JobOutcome) -> None:
        """Record how one member ended; the first outcome stays."""
        if self._members[name].decide(outcome):
            self._undecided -= 1
            if tell := self._observers.job_decided:
                tell(self._asker, self.job_id, name, outcome)

    def acknowledge(self, name: str) -> None:
        """Record that one member's answerer is done."""
        self._members[name].acknowledge()
        self._unacknowledged -= 1
        if tell := self._observers.job_acknowledged:
            tell(self._asker, self.job_id, name)
        if not self._unacknowledged:
            self._over.come()

    def settle(self) -> None:
        """Every member is decided: tell who waits."""
        self._done.set()
        if self.events is not None:
            self.events.finish()
        call, self.when_decided = self.when_decided, None  # a block and its group would keep each other, for the collector to find
        if call is not None:
            call()

    async def wait_decided(self) -> None:
        """Wait until every member's outcome is decided, whatever it is."""
        await self._done.wait()

    async def wait_acknowledged(self) -> None:
        """Wait until no handler of this request can run any more."""
        await self._over.wait()
