"""Which jobs cross a bus: where they were asked for, where they run.

A job's messages go by the job, not by names: an answer goes back to where the request came from, a cancel to where the request went,
even if somebody of the same name lives here. And nobody but those two has anything to say about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from ...messages import (
    AboutJob,
    BusJobAnswerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamEndMessage,
    BusMessage,
)
from ...types import JobStatus, Loss
from .session import Peer

_LAST_WORDS: Final = (BusJobResponseMessage, BusJobStreamEndMessage)
"""What an answerer says last."""

_Job = tuple[str, str]
"""A job's id, and the name of the worker that was asked: the members of a group share an id."""


@attrs.frozen(eq=False)
class _Call:
    peer: Peer
    asker: str


def job_of(message: BusMessage) -> str | None:
    """The id of the job that it is about, if it is about one."""
    return message.job_id if isinstance(message, AboutJob) else None


@attrs.define(eq=False)
class Calls:
    """The jobs that were asked for here and run elsewhere, and those the other way round, from the request to the answer."""

    _asked: dict[_Job, _Call] = attrs.field(factory=dict, init=False)
    _accepted: dict[_Job, _Call] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._asked) + len(self._accepted)

    def peer_of(self, message: BusMessage) -> Peer | None:
        """Where a message from here has to go, because its job says so."""
        job_id = job_of(message)
        if job_id is None or message.target is None or isinstance(message, BusJobRequestMessage):
            return None
        if isinstance(message, BusJobAnswerMessage):
            call, asker = self._accepted.get((job_id, message.source)), message.target
        else:
            call, asker = self._asked.get((job_id, message.target)), message.source
        return call.peer if call is not None and call.asker == asker else None

    def asked(self, message: BusMessage, target: str, peer: Peer) -> None:
        """A message has gone to a peer: if it is a request, an answer is to come from there."""
        if isinstance(message, BusJobRequestMessage):
            self._asked[message.job_id, target] = _Call(peer, message.source)

    def answered(self, message: BusMessage) -> None:
        """A message from here has been sent, or had nowhere to go: if it is a last word, that job is no affair of ours any more."""
        if isinstance(message, _LAST_WORDS):
            job = message.job_id, message.source
            call = self._accepted.get(job)
            if call is not None and call.asker == message.target:
                del self._accepted[job]

    def admit(self, message: BusMessage, target: str | None, peer: Peer) -> bool:
        """Take a peer's message into account; return whether it is his to say."""
        job_id = job_of(message)
        if job_id is None:
            return True
        if target is None:  # nobody says to everybody what is between two
            return False
        if isinstance(message, BusJobRequestMessage):
            if (job_id, target) in self._accepted:
                return False
            self._accepted[job_id, target] = _Call(peer, message.source)
            return True
        if isinstance(message, BusJobAnswerMessage):
            calls, job, asker = self._asked, (job_id, message.source), target
        else:
            calls, job, asker = self._accepted, (job_id, target), message.source
        call = calls.get(job)
        if call is None or call.peer is not peer or call.asker != asker:
            return False
        if isinstance(message, _LAST_WORDS):
            del calls[job]
        return True

    def refusal(self, message: BusMessage, peer: Peer) -> BusMessage | None:
        """What a peer is told whose request was not admitted: it must not wait for ever. ``None`` if it has nothing to wait for."""
        if not isinstance(message, BusJobRequestMessage) or message.target is None:
            return None
        call = self._accepted.get((message.job_id, message.target))
        if call is None:
            return message.bounce(f"{message.target!r} is no worker, and does no jobs")
        if call.peer is peer and call.asker == message.source:
            return None  # it is the same one again, and will be answered once
        return message.bounce(f"worker {message.target!r} has a job {message.job_id!r} of somebody else")

    def last_words(self, peer: Peer, loss: Loss, reason: str) -> Iterator[BusMessage]:
        """What a peer that is lost would have to say to those who wait for it. What they still say to it goes nowhere."""
        for (job_id, worker), call in list(self._asked.items()):
            if call.peer is peer:
                del self._asked[job_id, worker]
                yield BusJobResponseMessage(
                    source=worker, target=call.asker, job_id=job_id, status=JobStatus.ERROR, reason=reason, loss=loss
                )
        for (job_id, worker), call in list(self._accepted.items()):
            if call.peer is peer:
                yield BusJobCancelMessage(source=call.asker, target=worker, job_id=job_id, reason=reason)
