"""The lifecycles as tables: what each thing may become, and by which event. No I/O, no code but :func:`advance`.

The tables are the only place that says what may follow what. The code asks them before every change of state, the pages draw
them, the state machines in the tests check that nothing else ever happens.

**A worker** only goes forward. Its graceful way is NEW, ATTACHED (it has a name and an inbox), STARTING (it has a nursery),
READY (it is registered), ENDING (it drains), FINISHED. From anywhere before the end it may be cancelled, which takes time when
user code has things to clean up: that is CANCELLING. Errors decide at the very end: FAILED instead of FINISHED. A failure seen
earlier is a CANCELLING that has an error to tell.

**An activation** has two sides. The wish (``active``) changes on arrival; the hooks follow in order. The table is about the
wish: it says which changes are accepted, for each accepted change after READY is exactly one hook.

**A job** is one thing seen from two places. Its answerer sees ACCEPTED, then RUNNING, perhaps STREAMING, then ANSWERED; GONE is
when no line of its handler can run any more. An answer may come before GONE (the handler answered and ran on), never after. A job
answered before its first step (by somebody else than its handler) never runs.
Its asker sees ASKED, then DECIDED, by the answer or by its own giving up, whichever is first, then ACKNOWLEDGED, when the
answerer has said that it is over there. An answer does both at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from .errors import TransitionError


class WorkerState(StrEnum):
    """Where a worker (or a runner) is in its one life."""

    NEW = "new"
    ATTACHED = "attached"
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"


class ActivationState(StrEnum):
    """What a worker has been asked to be."""

    INACTIVE = "inactive"
    ACTIVE = "active"


class JobState(StrEnum):
    """A job, as its answerer sees it."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    STREAMING = "streaming"
    ANSWERED = "answered"
    GONE = "gone"


class RequestState(StrEnum):
    """A job, as its asker sees it."""

    ASKED = "asked"
    DECIDED = "decided"
    ACKNOWLEDGED = "acknowledged"


S = TypeVar("S", bound=StrEnum)
Table = Mapping[tuple[S, str], S]

_W, _J, _R = WorkerState, JobState, RequestState

WORKER: Final[Table[WorkerState]] = {
    (_W.NEW, "attach"): _W.ATTACHED,
    (_W.ATTACHED, "start"): _W.STARTING,
    (_W.STARTING, "ready"): _W.READY,
    (_W.READY, "end"): _W.ENDING,
    (_W.ENDING, "finish"): _W.FINISHED,
    (_W.NEW, "cancel"): _W.CANCELLING,
    (_W.ATTACHED, "cancel"): _W.CANCELLING,
    (_W.STARTING, "cancel"): _W.CANCELLING,
    (_W.READY, "cancel"): _W.CANCELLING,
    (_W.ENDING, "cancel"): _W.CANCELLING,
    (_W.CANCELLING, "finish"): _W.FINISHED,
    (_W.STARTING, "fail"): _W.FAILED,
    (_W.READY, "fail"): _W.FAILED,
    (_W.ENDING, "fail"): _W.FAILED,
    (_W.CANCELLING, "fail"): _W.FAILED,
}

ACTIVATION: Final[Table[ActivationState]] = {
    (ActivationState.INACTIVE, "activate"): ActivationState.ACTIVE,
    (ActivationState.ACTIVE, "activate with other args"): ActivationState.ACTIVE,
    (ActivationState.ACTIVE, "deactivate"): ActivationState.INACTIVE,
}

JOB: Final[Table[JobState]] = {
    (_J.ACCEPTED, "run"): _J.RUNNING,
    (_J.RUNNING, "stream"): _J.STREAMING,
    (_J.ACCEPTED, "answer"): _J.ANSWERED,
    (_J.RUNNING, "answer"): _J.ANSWERED,
    (_J.STREAMING, "answer"): _J.ANSWERED,
    (_J.ANSWERED, "go"): _J.GONE,
}

REQUEST: Final[Table[RequestState]] = {
    (_R.ASKED, "decide"): _R.DECIDED,
    (_R.DECIDED, "acknowledge"): _R.ACKNOWLEDGED,
}


def allows(table: Table[S], state: S, event: str) -> bool:
    """Whether ``event`` may happen in ``state``."""
    return (state, event) in table


def advance(table: Table[S], state: S, event: str) -> S:
    """Return the state that follows.

    Raises:
        TransitionError: The table has no such step.
    """
    try:
        return table[state, event]
    except KeyError:
        raise TransitionError(f"nothing {state!s} can {event!r}; please report this as a defect of trioworkers") from None
