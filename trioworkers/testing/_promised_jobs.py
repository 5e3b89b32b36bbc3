"""Promises about jobs (J1 to J7, and what L6 says of them)."""

from __future__ import annotations

from collections.abc import Iterator

from .._transitions import JobState, WorkerState
from ..jobs.chain import link
from ..messages import (
    WINDOW,
    BusJobAnswerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
)
from ..observers import Observer
from ..types import JobOutcome, JobStatus
from ._ledger import INF, OVER, SERVING, SLACK, UNANSWERED, Ask, Job, Ledger, Life, Member, now, outcome_of


class JobPromises(Observer):
    """Watches jobs, and writes what is wrong into the ledger."""

    def __init__(self, ledger: Ledger, *, may_leave_behind: bool) -> None:
        self.ledger = ledger
        self._may_leave_behind = may_leave_behind
        self._accepted = 0
        self._requests: dict[str, BusJobRequestMessage] = {}

    # -- judging -----------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must be true between two steps."""
        for life in self.ledger.living():
            if life.worker is not None:
                known = [job_id for job_id, job in life.jobs.items() if job.state in UNANSWERED]
                found = [*life.worker.active_jobs]
                if known != found:
                    self.ledger.blame("J4", f"{life.name!r} has the active jobs {found}; accepted and unanswered are {known}")
        for ask, name, member in self._open():
            self._check_way_out(ask, name, member)
            self._check_credit(ask, name, member)

    def check_rest(self) -> None:
        """What must be true when nothing can go on without time passing."""
        for ask, name, member in self._open():
            if member.decided is None and now() > member.due + SLACK and not self.ledger.may_shield:
                self.ledger.blame("J7", f"{ask.job_id} of {ask.asker!r} to {name!r} was due at t={member.due:g}, and is undecided")
        for life in self.ledger.living():
            for job_id, job in life.jobs.items():
                rivals = [other for other in _rivals(life, job) if other.ran]
                if job.state is JobState.ACCEPTED and not rivals:
                    self.ledger.blame("J5" if job.sequential else "J7", f"nothing runs before {job_id} on {life.name!r}, and it waits")
                if any(link(other.request.job_id, life.name) in job.request.chain for other in rivals):
                    self.ledger.blame("J7", f"{job_id} on {life.name!r} waits for the job in which it was asked for")

    def check_over(self) -> None:
        """What must be true when the runner has returned."""
        for ask in self.ledger.asks.values():
            self.ledger.blame("J1", f"what {ask.asker!r} asked in {ask.job_id} of {[*ask.members]} was never decided and acknowledged")
        for life in self.ledger.lives.values():
            if life.jobs:
                self.ledger.blame("J4", f"{life.name!r} has left the jobs {[*life.jobs]}")

    def _open(self) -> Iterator[tuple[Ask, str, Member]]:
        return ((ask, name, member) for ask in self.ledger.asks.values() for name, member in ask.members.items())

    def _check_way_out(self, ask: Ask, name: str, member: Member) -> None:
        """J7: whoever waits for an answer can still get one."""
        life, asker = self.ledger.lives.get(name), self.ledger.lives.get(ask.asker)
        where = f"{ask.job_id} of {ask.asker!r} to {name!r}"
        group = None if asker is None or asker.worker is None else asker.worker.job_groups.get(ask.job_id)
        if group is not None and group.failure is not None and member.decided is None:
            self.ledger.blame("J1", f"{where} is undecided, and the whole has failed: {group.failure}")
        if member.answer is not None:
            self.ledger.blame("J7", f"{where} was answered, and its asker waits on")
        elif life is not None and life.was_ready:
            job = life.jobs.get(ask.job_id)
            if job is None or job.request.source != ask.asker:
                self.ledger.blame("J7", f"{where} waits for an answer, and there is no such job")

    def _check_credit(self, ask: Ask, name: str, member: Member) -> None:
        """J6: what has been consumed is paid for, at the latest when nothing is left to send with."""
        job = self.ledger.job(name, ask.job_id)
        empty = job is not None and job.request.source == ask.asker and job.spent >= job.request.window + job.granted
        if empty and member.decided is None and member.seen == member.events:
            self.ledger.blame("J6", f"{ask.asker!r} has consumed all of {ask.job_id}, and {name!r} may not go on")

    # -- where it is asked -------------------------------------------------------------------------------------------------

    def job_asked(self, asker: str, job_id: str, names: tuple[str, ...], /) -> None:
        """J1: from here on it must be decided."""
        self.ledger.tally["asked"] += 1
        if (asker, job_id) in self.ledger.asks:
            self.ledger.blame("J1", f"{asker!r} asks {job_id} twice")
        window = max(1, WINDOW // len(names))
        self.ledger.asks[asker, job_id] = Ask(asker, job_id, {name: Member(window) for name in names})

    def job_decided(self, asker: str, job_id: str, worker: str, outcome: JobOutcome, /) -> None:
        """J1: once, and as the answer said that came first."""
        self.ledger.tally[f"decided {outcome.status}"] += 1
        ask, life = self.ledger.asks.get((asker, job_id)), self.ledger.lives.get(asker)
        member = None if ask is None else ask.members.get(worker)
        where = f"{job_id} of {asker!r} to {worker!r}"
        if ask is None or member is None or member.decided is not None:
            self.ledger.blame("J1", f"{where} is decided twice, or unasked: {outcome}")
            return
        member.decided = outcome
        if ask.is_decided and life is not None:
            life.ends[job_id] = None  # its hooks are to be told
        if outcome.status not in tuple(JobStatus):
            self.ledger.blame("J1", f"{where} is decided as {outcome.status}")
        late = now() >= member.due - SLACK and outcome.status is JobStatus.CANCELLED
        made_up = member.answer is None and outcome.status is JobStatus.CANCELLED
        if not (late or made_up) and outcome != member.answer:
            self.ledger.blame("J1", f"{where} is decided as {outcome}, and was answered {member.answer}")

    def job_acknowledged(self, asker: str, job_id: str, worker: str, /) -> None:
        """J1: once, after it was decided. J2: when its handler is gone, or had answered by itself."""
        ask = self.ledger.asks.get((asker, job_id))
        member = None if ask is None else ask.members.pop(worker, None)
        where = f"{job_id} of {asker!r} to {worker!r}"
        if member is None or member.decided is None:
            self.ledger.blame("J1", f"{where} is acknowledged twice, or undecided")
        job = self.ledger.job(worker, job_id)
        runs = job is not None and job.request.source == asker and job.state in UNANSWERED
        if runs and not self._may_leave_behind:
            self.ledger.blame("J2", f"{where} is waited for no more, and its handler runs")

    def job_over(self, asker: str, job_id: str, /) -> None:
        """J1: when all its members are acknowledged."""
        ask = self.ledger.asks.pop((asker, job_id), None)
        if ask is None or ask.members:
            self.ledger.blame("J1", f"{job_id} of {asker!r} is over, and was not acknowledged by {ask and [*ask.members]}")

    def job_event(self, asker: str, job_id: str, worker: str, message: BusJobAnswerMessage, /) -> None:
        """J3: nothing after the end. J6: no more than a window of them."""
        self.ledger.tally["event"] += 1
        member = self.ledger.member(asker, job_id, worker)
        if member is None or member.decided is not None:
            self.ledger.blame("J3", f"{asker!r} hears of {job_id} after its end: {message}")
            return
        member.events += 1
        member.free += not _is_paid(message)
        waiting = member.events - member.seen
        if waiting > member.window + member.free:
            self.ledger.blame("J6", f"{waiting} events of {job_id} wait at {asker!r}: more than a window of {member.window}")

    def job_event_seen(self, asker: str, job_id: str, worker: str, /) -> None:
        """J6: once for each event, at most."""
        member = self.ledger.member(asker, job_id, worker)
        if member is not None:
            member.seen += 1
            if member.seen > member.events:
                self.ledger.blame("J6", f"{asker!r} has consumed more events of {job_id} than there were")

    # -- what is sent ------------------------------------------------------------------------------------------------------

    def message_posted(self, message: BusMessage, /) -> None:
        """J3: of a job that is over its answerer says nothing."""
        if isinstance(message, BusJobAnswerMessage):
            life = self.ledger.lives.get(message.source)
            job = None if life is None else life.jobs.get(message.job_id)
            if life is not None and job is not None and job.request.source == message.target:
                self._check_said(life, job, message)

    def _check_said(self, life: Life, job: Job, message: BusJobAnswerMessage) -> None:
        if job.answered:
            self.ledger.blame("J3", f"{life.name!r} has answered {message.job_id}, and says more: {message}")
        elif isinstance(message, (BusJobResponseMessage, BusJobStreamEndMessage)):
            job.answered = True
            self._check_lost(life, job, message)
        elif job.state not in UNANSWERED:
            self.ledger.blame("J3", f"{message.job_id} on {life.name!r} is {job.state}, and it says: {message}")

    @staticmethod
    def _check_lost(life: Life, job: Job, message: BusJobAnswerMessage) -> None:
        """L6: nothing has stopped it, and it stops; unless its worker is being stopped, which may be known in a moment."""
        stopped = isinstance(message, BusJobResponseMessage) and message.reason == f"worker {life.name!r} stopped"
        in_time = life.ending is None or now() < life.ending.due - SLACK
        if stopped and in_time and not job.cancelled and life.state in SERVING:
            life.lost.append(message.job_id)

    def message_delivered(self, message: BusMessage, name: str, /) -> None:
        """When a request is due, what has been answered, who was told to stop."""
        if isinstance(message, BusJobRequestMessage):
            self._requests[name] = message
            member = self.ledger.member(message.source, message.job_id, name)
            if member is not None and message.timeout is not None:
                member.due = now() + message.timeout
        elif isinstance(message, (BusJobResponseMessage, BusJobStreamEndMessage)):
            member = self.ledger.member(name, message.job_id, message.source)
            if member is not None and member.decided is None:
                member.answer = outcome_of(message)
        elif isinstance(message, BusJobCancelMessage):
            job = self.ledger.job(name, message.job_id)
            if job is not None and job.request.source == message.source:
                job.cancelled = True

    # -- where it is answered ----------------------------------------------------------------------------------------------

    def job_accepted(self, name: str, request: BusJobRequestMessage, /) -> None:
        """J1, J4, L6."""
        self.ledger.tally["accepted"] += 1
        life = self.ledger.lives.get(name)
        if life is None:
            return
        life.held.pop(request.job_id, None)
        if life.state not in SERVING:
            self.ledger.blame("J4", f"{name!r} is {life.state}, and accepts {request.job_id}")
        if life.ending is not None and not self._is_asked_inside(request):
            self.ledger.blame("L6", f"{name!r} ends, and accepts {request.job_id}, which no job of those that end has asked for")
        if request.job_id in life.jobs:
            self.ledger.blame("J1", f"{name!r} has the job {request.job_id} twice")
        self._accepted += 1
        due = INF if request.timeout is None else now() + request.timeout
        _, mark = life.marks.jobs.get(request.job_name or "", (None, None))
        life.jobs[request.job_id] = Job(request, self._accepted, due, mark is not None and mark.sequential)

    def _is_asked_inside(self, request: BusJobRequestMessage) -> bool:
        ending = [life.ending for life in self.ledger.lives.values() if life.ending is not None]
        return any(asked_in in one.links for one in ending for asked_in in request.chain)

    def job_refused(self, name: str, job_id: str, status: JobStatus, reason: str, /) -> None:
        """J1: who is ready does what it can. L6: what is asked for in a job that goes on while its worker ends is done."""
        life = self.ledger.lives.get(name)
        if life is None:
            return
        held = life.held.pop(job_id, None)
        if held is None and status is JobStatus.CANCELLED and life.state in SERVING:
            request = self._requests.get(name)
            chain = request.chain if request is not None and request.job_id == job_id else ()
            if life.ending is None:
                self.ledger.blame("J1", f"{name!r} is ready, and refuses {job_id}: {reason}")
            elif any(asked_in in life.ending.links and self._goes_on(asked_in) for asked_in in chain):
                self.ledger.blame("L6", f"{name!r} ends, and refuses {job_id}, which a job that it ends with has asked for: {reason}")

    def _goes_on(self, chained: str) -> bool:
        return any(chained in life.links() for life in self.ledger.living())

    def job_state(self, name: str, job_id: str, old: JobState, new: JobState, /) -> None:
        """J4: as the table says. J2: not after it was told to stop. J5: in its turn."""
        self.ledger.tally[f"job {new}"] += 1
        life = self.ledger.lives.get(name)
        job = None if life is None else life.jobs.get(job_id)
        if life is None or job is None:
            return
        if job.state is not old:
            self.ledger.blame("J4", f"{job_id} on {name!r} goes from {job.state} ({old}) to {new}")
        if new is JobState.RUNNING:
            self._begins(life, job)
        elif new is JobState.GONE:
            del life.jobs[job_id]
        job.state = new

    def _begins(self, life: Life, job: Job) -> None:
        job_id = job.request.job_id
        if job.cancelled:
            self.ledger.blame("J2", f"{job_id} on {life.name!r} begins, though it was told to stop")
        if job.sequential:
            rivals = _rivals(life, job)
            running = [other.request.job_id for other in rivals if other.ran]
            if running:
                self.ledger.blame("J5", f"{job_id} on {life.name!r} begins while {running} runs")
            due = [other for other in rivals if other.state is JobState.ACCEPTED and other.number < job.number and not other.cancelled]
            passed = [other.request.job_id for other in due if now() < other.due - SLACK]
            if passed:
                self.ledger.blame("J5", f"{job_id} on {life.name!r} begins before {passed}")
        job.ran = True

    def worker_state(self, name: str, old: WorkerState, new: WorkerState, reason: str | None, /) -> None:
        """J1, J4: what must be over when a worker is."""
        del old, reason
        if new in OVER:
            life = self.ledger.lives.get(name)
            if life is not None and life.jobs:
                self.ledger.blame("J4", f"{name!r} is {new}, and its jobs are not over: {[*life.jobs]}")
            asked = [ask.job_id for ask in self.ledger.asks.values() if ask.asker == name]
            if asked:
                self.ledger.blame("J1", f"{name!r} is {new}, and its requests are not acknowledged: {asked}")

    def credit_spent(self, name: str, job_id: str, left: int, /) -> None:
        """J6: no more than there is."""
        self.ledger.tally["credit"] += 1
        job = self.ledger.job(name, job_id)
        if job is not None:
            job.spent += 1
            self._check_left(name, job, left)

    def credit_granted(self, name: str, job_id: str, credit: int, left: int, /) -> None:
        """J6: no more than was consumed."""
        job = self.ledger.job(name, job_id)
        if job is not None:
            job.granted += credit
            self._check_left(name, job, left)
            member = self.ledger.member(job.request.source, job_id, name)
            if member is not None and job.granted > member.seen:
                self.ledger.blame("J6", f"{job_id} on {name!r} was granted {job.granted}, and {member.seen} events were consumed")

    def _check_left(self, name: str, job: Job, left: int) -> None:
        due = job.request.window + job.granted - job.spent
        if left < 0 or left != due:
            self.ledger.blame("J6", f"{job.request.job_id} on {name!r} may send {left} more, and should {due}")


def _rivals(life: Life, job: Job) -> list[Job]:
    """The other jobs of its name."""
    return [other for other in life.jobs.values() if other is not job and other.request.job_name == job.request.job_name]


def _is_paid(message: BusMessage) -> bool:
    """Whether such an event costs credit."""
    update = isinstance(message, BusJobUpdateMessage) and not isinstance(message, BusJobUpdateUrgentMessage)
    return update or isinstance(message, BusJobStreamDataMessage)
