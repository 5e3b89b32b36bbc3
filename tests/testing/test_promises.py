"""The promises, told of everything that must not happen: each breach is seen, and what only looks like one is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusSystemMessage,
    JobGroupResponse,
    JobOutcome,
    JobState,
    JobStatus,
    WorkerLostData,
    WorkerReadyData,
    WorkerRegistryEntry,
    WorkerRunner,
    WorkerState,
    handles,
    job,
)
from trioworkers.bus import SenderWaiting
from trioworkers.testing import BrokenPromiseError, Promises, Puppet

ATTACHED, STARTING, READY, ENDING = WorkerState.ATTACHED, WorkerState.STARTING, WorkerState.READY, WorkerState.ENDING
CANCELLING, FINISHED, FAILED = WorkerState.CANCELLING, WorkerState.FINISHED, WorkerState.FAILED
ACCEPTED, RUNNING, STREAMING = JobState.ACCEPTED, JobState.RUNNING, JobState.STREAMING
ANSWERED, GONE = JobState.ANSWERED, JobState.GONE
DONE = JobOutcome(JobStatus.COMPLETED, {"done": True})
CANCELLED = JobOutcome(JobStatus.CANCELLED)
YES, NO = True, False


class Note(BusDataMessage):
    """A message."""


class Bell(BusSystemMessage):
    """An urgent message."""


class Mute(BaseWorker):
    """Hears of nothing, but does sequential jobs."""

    @job(sequential=True)
    async def queue(self, message: BusJobRequestMessage) -> None:
        """Nothing."""


class Wrapped(Puppet):
    """Does something of its own around its life."""

    async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Nothing."""


class Reader(BaseWorker):
    """Reads notes."""

    @handles(Note)
    async def read(self, message: Note) -> None:
        """Read it."""


class Stage:
    """A runner whose workers do not run, promises that watch it, and somebody who tells them stories.

    ``boss`` has the child ``left``; ``loner``, ``mute``, ``wrapped`` and ``reader`` are roots, too.
    """

    def __init__(self, runner: WorkerRunner, clock: trio.testing.MockClock, **options: Any) -> None:
        self.runner = runner
        self.clock = clock
        self.promises = Promises(runner, **options)
        self.say = runner.bus.observers
        self.states = dict.fromkeys([worker.name for worker in runner.statistics().workers], ATTACHED)

    def turn(self, name: str, *states: WorkerState) -> None:
        """A worker goes from state to state."""
        for state in states:
            old, self.states[name] = self.states.get(name, ATTACHED), state
            self.tell("worker_state", name, old, state, None)

    def tell(self, hook: str, *args: object) -> None:
        """Something has happened."""
        getattr(self.say, hook)(*args)

    def arrive(self, name: str, parent: str | None = None) -> None:
        """A worker is attached."""
        self.tell("worker_attached", name, parent, "runner")
        self.states[name] = WorkerState.NEW
        self.turn(name, ATTACHED)
        self.tell("worker_active", name, YES)

    def ready(self, *names: str) -> None:
        """Workers are ready, as it is promised."""
        for name in names:
            self.turn(name, STARTING)
            self.tell("worker_registered", WorkerRegistryEntry(name))
            self.turn(name, READY)

    def post(self, message: BusMessage, *receivers: str) -> None:
        """A message is posted, and delivered to these."""
        self.tell("message_posted", message)
        for name in receivers:
            self.tell("message_delivered", message, name)

    def hook(self, name: str, hook: str, about: object, lane: str = "data") -> None:
        """A hook is called, and returns."""
        self.tell("hook_started", name, lane, hook, about)
        self.tell("hook_ended", name, lane, hook, None)

    def ask(self, asker: str, job_id: str, *names: str) -> None:
        """Somebody asks."""
        self.tell("job_asked", asker, job_id, names)

    def decide(self, asker: str, job_id: str, name: str, outcome: JobOutcome = CANCELLED) -> None:
        """It is decided, and acknowledged."""
        self.tell("job_decided", asker, job_id, name, outcome)
        self.tell("job_acknowledged", asker, job_id, name)

    def request(self, asker: str, job_id: str, name: str, **options: Any) -> BusJobRequestMessage:
        """A request arrives and is accepted."""
        message = BusJobRequestMessage(source=asker, target=name, job_id=job_id, **options)
        self.post(message, name)
        self.tell("job_accepted", name, message)
        return message

    def work(self, name: str, job_id: str, *states: JobState) -> None:
        """A job goes from state to state."""
        for old, new in pairwise(states):
            self.tell("job_state", name, job_id, old, new)

    def answer(self, name: str, job_id: str, asker: str, outcome: JobOutcome = DONE) -> None:
        """A worker answers."""
        self.post(
            BusJobResponseMessage(
                source=name, target=asker, job_id=job_id, status=outcome.status, response=outcome.response, reason=outcome.reason
            ),
            asker,
        )

    def lose(self, name: str, job_id: str) -> None:
        """A job stops, and says that its worker has stopped."""
        self.request("runner", job_id, name)
        self.work(name, job_id, ACCEPTED, RUNNING)
        self.answer(name, job_id, "runner", JobOutcome(JobStatus.CANCELLED, reason=f"worker {name!r} stopped"))

    def refuse(self, name: str, job_id: str, **options: Any) -> None:
        """A request arrives and is refused."""
        self.post(BusJobRequestMessage(source="runner", target=name, job_id=job_id, **options), name)
        self.tell("job_refused", name, job_id, JobStatus.CANCELLED, "no")

    def hook_goes_on(self, name: str) -> None:
        """A hook is called, and does not return."""
        self.tell("hook_started", name, "data", "on_worker_failed", "an error")

    def know(self, who: str, whom: str, times: int = 1) -> None:
        """The registry tells that somebody is ready."""
        for _ in range(times):
            self.tell("watch_fired", who, whom, YES)

    def detach(self, name: str) -> None:
        """The bus forgets it."""
        worker = self.runner.get_worker(name)
        if worker is not None:
            worker._family().detach()

    def leave(self, name: str, *states: WorkerState, told: bool = True) -> None:
        """It is unregistered, the roots are told, its name is free, and it is over."""
        self.turn(name, *states[:-1])
        self.tell("worker_unregistered", name)
        for watcher in ("boss", "loner", "wrapped") if told and name not in {"left", "new"} else ():
            if watcher != name and self.states[watcher] not in {FINISHED, FAILED}:
                self.tell("watch_fired", watcher, name, NO)
                self.hook(watcher, "on_worker_lost", WorkerLostData(name, "runner"))
        self.detach(name)
        self.turn(name, states[-1])

    def ready_at_last(self, name: str) -> None:
        """It was starting."""
        self.tell("worker_registered", WorkerRegistryEntry(name))
        self.turn(name, READY)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.jump(seconds)

    def mail(self, name: str) -> list[BusMessage]:
        """What it is to be shown."""
        return [message for mail in self.promises._ledger.lives[name].mail.values() for message in mail]

    def blind(self, name: str) -> None:
        """Nobody can look into this one any more: it does not do what is told of it."""
        self.promises._ledger.lives[name].worker = None

    def pretend_groups(self, name: str, job_id: str, failure: str | None) -> None:
        """A worker has the record of a request."""
        groups = {job_id: SimpleNamespace(failure=failure)}
        stand_in: Any = SimpleNamespace(active=True, active_jobs={}, job_groups=groups)
        self.promises._ledger.lives[name].worker = stand_in

    def between(self) -> None:
        """Look between two steps, but not at what is really there: that does not go with a story."""
        self.promises._hooks.check()
        self.promises._jobs.check()
        self.promises._lives._check_watches()

    def rest(self, *, shown: bool = True) -> None:
        """Look as if nothing went on, when everybody has been shown everything."""
        for name in self.states if shown else ():
            for message in self.mail(name) if name != "runner" else ():
                self.promises._hooks._show(self.promises._ledger.lives[name], message)
        self.promises._lives.check_rest()
        self.promises._hooks.check_rest()
        self.promises._jobs.check_rest()

    def found(self) -> list[str]:
        """Everything that was found to be broken."""
        return self.promises.broken


async def new_stage(clock: trio.testing.MockClock, **options: Any) -> Stage:
    """Raise the curtain."""
    runner = WorkerRunner(name="runner", handle_sigint=False, handle_sigterm=False, shutdown_timeout=4)
    boss = Puppet("boss")
    await boss.add_workers(Puppet("left"))
    await runner.add_workers(boss, Puppet("loner"), Mute("mute"), Wrapped("wrapped"), Reader("reader"))
    return Stage(runner, clock, **options)


ROOTS = ("boss", "loner", "mute", "wrapped", "reader")


def play(stage: Stage) -> Stage:
    """The runner and all workers are ready and active, and the roots know of each other."""
    stage.turn("runner", STARTING, READY)
    stage.ready("left", *ROOTS)
    for name in ("boss", "left", "loner", "wrapped"):
        stage.hook(name, "on_activated", None, "activation")
    for who in ("boss", "loner", "wrapped"):
        for whom in ROOTS:
            stage.know(who, whom)
            if who != whom:
                stage.hook(who, "on_worker_ready", WorkerReadyData(whom, "runner"))
    return stage


Story = Callable[[Stage], None]


@attrs.frozen
class Told:
    """A story, and which promises it breaks."""

    story: Story
    promises: tuple[str, ...]

    def __str__(self) -> str:
        return self.story.__name__


STORIES: list[Told] = []


def breaks(*promises: str) -> Callable[[Story], Story]:
    """Add a story that breaks these."""

    def add(story: Story) -> Story:
        STORIES.append(Told(story, promises))
        return story

    return add


fine = breaks()


# -- lives -----------------------------------------------------------------------------------------------------------------


@fine
def a_life(stage: Stage) -> None:
    """All of it, as it should be."""
    stage.post(BusEndWorkerMessage(source="runner", target="boss"), "boss")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("boss", ENDING)
    stage.turn("left", ENDING)
    stage.leave("left", FINISHED)
    stage.leave("boss", FINISHED)
    stage.between()


@breaks("L2")
def a_state_is_left_out(stage: Stage) -> None:
    """From STARTING to ENDING."""
    stage.arrive("new")
    stage.turn("new", STARTING, ENDING)


@breaks("L2")
def a_state_comes_from_nowhere(stage: Stage) -> None:
    """It is said to have been in another state."""
    stage.tell("worker_state", "boss", ENDING, CANCELLING, None)


@fine
def somebody_elses_lives(stage: Stage) -> None:
    """Workers of another runner on the same bus are its own affair."""
    stage.tell("worker_attached", "theirs", None, "other runner")
    stage.tell("worker_state", "theirs", READY, STARTING, None)
    stage.tell("worker_registered", WorkerRegistryEntry("theirs"))
    stage.tell("worker_unregistered", "theirs")
    stage.tell("worker_active", "theirs", YES)
    stage.tell("watch_fired", "theirs", "boss", YES)
    stage.tell("watch_fired", None, "boss", YES)
    stage.hook("theirs", "on_activated", None, "activation")
    stage.post(Note(source="boss", target="theirs"), "theirs")
    stage.request("theirs", "1", "theirs")
    stage.work("theirs", "1", ACCEPTED, RUNNING, GONE)
    stage.answer("theirs", "1", "theirs")
    stage.post(BusJobCancelMessage(source="theirs", target="theirs", job_id="1"), "theirs")
    stage.tell("job_refused", "theirs", "2", JobStatus.CANCELLED, "why not")
    stage.tell("credit_spent", "theirs", "1", -1)
    stage.tell("credit_granted", "theirs", "1", 1, -1)
    stage.tell("job_event_seen", "theirs", "1", "theirs")
    stage.tell("message_dropped", Note(source="boss"), "theirs", "stopped")
    stage.turn("theirs", FINISHED)


@breaks("L1", "R1")
def a_parent_is_over_first(stage: Stage) -> None:
    """Its child lives."""
    stage.leave("boss", CANCELLING, FINISHED)


@breaks("L5")
def a_name_is_given_away(stage: Stage) -> None:
    """Twice."""
    stage.tell("worker_attached", "boss", None, "runner")


@fine
def a_name_is_free_again(stage: Stage) -> None:
    """Somebody new has the name of somebody who is over."""
    stage.leave("loner", CANCELLING, FINISHED)
    stage.tell("worker_attached", "loner", None, "runner")


@breaks("L5")
def a_name_is_kept(stage: Stage) -> None:
    """It is over, and the bus knows it still."""
    stage.turn("loner", CANCELLING)
    stage.tell("worker_unregistered", "loner")
    stage.turn("loner", FINISHED)


@breaks("R1")
def it_is_registered_still(stage: Stage) -> None:
    """Though it is over."""
    stage.detach("loner")
    stage.turn("loner", CANCELLING, FINISHED)


@breaks("R1")
def it_is_unregistered_too_early(stage: Stage) -> None:
    """It is ready."""
    stage.tell("worker_unregistered", "loner")


@fine
def somebody_unknown_is_unregistered(stage: Stage) -> None:
    """Nothing has happened."""
    stage.arrive("new")
    stage.tell("worker_unregistered", "new")


@breaks("R1")
def it_is_registered_late(stage: Stage) -> None:
    """It leaves already."""
    stage.arrive("new")
    stage.turn("new", STARTING, CANCELLING)
    stage.tell("worker_registered", WorkerRegistryEntry("new"))


# -- ends ------------------------------------------------------------------------------------------------------------------


@breaks("L6")
def an_end_is_late(stage: Stage) -> None:
    """Its time is over, and it is not cancelled."""
    stage.hook_goes_on("loner")
    stage.post(BusEndWorkerMessage(source="runner", target="loner"), "loner")
    stage.turn("loner", ENDING)
    stage.rest()
    assert not stage.found()
    stage.wait(4.1)
    stage.rest()


@breaks("L6")
def an_end_waits_for_nothing(stage: Stage) -> None:
    """There is nothing left to do."""
    stage.post(BusEndWorkerMessage(source="runner", target="boss"), "boss")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("boss", ENDING)
    stage.rest()
    assert not stage.found()
    stage.turn("left", ENDING)
    stage.rest()


@breaks("L6")
def the_end_of_all_waits_for_nothing(stage: Stage) -> None:
    """The runner ends, and so do all others."""
    for name in ("boss", "left", "loner", "mute", "reader"):
        stage.post(BusEndWorkerMessage(source="runner", target=name), name)
        stage.turn(name, ENDING)
    stage.leave("wrapped", CANCELLING, FINISHED)
    stage.turn("runner", ENDING)
    stage.rest()


@fine
def a_runner_without_workers_ends(stage: Stage) -> None:
    """It may be in the handler of an event."""
    for name in ("left", "boss", "loner", "mute", "wrapped", "reader"):
        stage.leave(name, CANCELLING, FINISHED)
    stage.turn("runner", ENDING)
    stage.rest()


@fine
def an_end_waits_for_something(stage: Stage) -> None:
    """A hook, a job, a request, a body that is the worker's own."""
    stage.request("runner", "1", "mute")
    stage.work("mute", "1", ACCEPTED, RUNNING)
    stage.ask("loner", "2", "nobody here")
    stage.hook_goes_on("reader")
    for name in ("loner", "mute", "wrapped", "reader"):
        stage.turn(name, ENDING)
    stage.rest()


@breaks("L6")
def a_job_is_lost(stage: Stage) -> None:
    """Its worker ends in time, and had stopped it."""
    stage.lose("loner", "1")
    stage.work("loner", "1", RUNNING, ANSWERED, GONE)
    stage.leave("loner", ENDING, FINISHED)


@breaks("L6")
def a_job_is_lost_for_nothing(stage: Stage) -> None:
    """Its worker lives on."""
    stage.lose("loner", "1")
    stage.rest()


@fine
def a_job_is_stopped_with_its_worker(stage: Stage) -> None:
    """Which is not known at once."""
    stage.lose("loner", "1")
    stage.work("loner", "1", RUNNING, ANSWERED, GONE)
    stage.leave("loner", CANCELLING, FINISHED)


@breaks("L6")
def an_end_is_cut_short(stage: Stage) -> None:
    """It is over before its time, and nobody has told it to stop."""
    stage.turn("loner", ENDING)
    stage.leave("loner", CANCELLING, FINISHED)
    stage.rest()


@fine
def an_end_is_cancelled(stage: Stage) -> None:
    """It is over before its time, and was told to stop; or could do so itself."""
    stage.turn("loner", ENDING)
    stage.post(BusCancelWorkerMessage(source="runner", target="loner"), "loner")
    stage.leave("loner", CANCELLING, FINISHED)
    stage.turn("wrapped", ENDING)
    stage.leave("wrapped", CANCELLING, FINISHED)
    stage.rest()


@breaks("L6")
def it_ends_and_accepts_from_outside(stage: Stage) -> None:
    """No job that goes on has asked for it."""
    stage.post(BusEndWorkerMessage(source="runner", target="loner"), "loner")
    stage.turn("loner", ENDING)
    stage.request("runner", "1", "loner")


@fine
def it_ends_and_accepts_from_inside(stage: Stage) -> None:
    """A job that goes on has asked for it."""
    stage.request("runner", "1", "left")
    stage.post(BusEndWorkerMessage(source="runner", target="boss"), "boss")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("boss", ENDING)
    stage.turn("left", ENDING)
    stage.request("left", "2", "boss", chain=("1@left",))


@breaks("L6")
def it_ends_and_refuses_from_inside(stage: Stage) -> None:
    """A job that goes on has asked for it; told of it twice or not, it is one end."""
    stage.request("runner", "1", "left")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.post(BusEndWorkerMessage(source="runner", target="boss"), "boss")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("boss", ENDING)
    stage.turn("left", ENDING)
    stage.refuse("boss", "2", chain=("1@left",))


@fine
def it_ends_and_refuses_from_outside(stage: Stage) -> None:
    """Nobody has asked for it who might; not even a job that was there once."""
    stage.request("runner", "1", "loner")
    for _ in range(2):
        stage.post(BusEndWorkerMessage(source="runner", target="loner"), "loner")
    stage.turn("loner", ENDING)
    stage.refuse("loner", "2")
    stage.tell("job_refused", "loner", "3", JobStatus.CANCELLED, "it ends")
    stage.post(BusJobResponseMessage(source="loner", target="runner", job_id="1"), "runner")
    stage.work("loner", "1", ACCEPTED, ANSWERED, GONE)
    stage.refuse("loner", "4", chain=("1@loner",))
    stage.turn("loner", CANCELLING)
    stage.refuse("loner", "5", chain=("1@loner",))


@breaks("J1")
def it_is_ready_and_refuses(stage: Stage) -> None:
    """Though it does not end."""
    stage.refuse("loner", "1")


@fine
def it_is_ready_and_cannot(stage: Stage) -> None:
    """It has no such handler; or the asker has given up before it was ready."""
    stage.post(BusJobRequestMessage(source="runner", target="loner", job_id="1"), "loner")
    stage.tell("job_refused", "loner", "1", JobStatus.FAILED, "no handler")
    stage.arrive("new")
    stage.post(BusJobRequestMessage(source="runner", target="new", job_id="2"), "new")
    stage.tell("job_refused", "new", "2", JobStatus.CANCELLED, "given up")
    stage.between()


# -- messages --------------------------------------------------------------------------------------------------------------


@breaks("B3")
def a_message_is_lost_on_its_way(stage: Stage) -> None:
    """Nobody gets it."""
    stage.post(Note(source="loner", target="boss"))
    stage.between()


@breaks("B3")
def a_broadcast_leaves_somebody_out(stage: Stage) -> None:
    """Who would be shown it; those who would not are not asked."""
    stage.post(Note(source="mute"), "boss", "left", "loner", "reader")
    stage.post(Bell(source="mute"), "boss", "left", "loner", "wrapped")


@fine
def a_broadcast_reaches_all(stage: Stage) -> None:
    """Who would be shown it, and somebody else."""
    stage.post(Note(source="mute"), "boss", "left", "loner", "wrapped", "reader", "mute", "runner")
    stage.between()


@fine
def a_message_is_for_nobody_here(stage: Stage) -> None:
    """It is somebody else's affair, or a dead letter."""
    stage.leave("loner", CANCELLING, FINISHED)
    stage.post(Note(source="boss", target="loner"))
    stage.post(Note(source="boss", target="who"))
    stage.between()


@breaks("B3")
def a_message_comes_twice(stage: Stage) -> None:
    """To the same one."""
    stage.post(Note(source="mute", target="boss"), "boss", "boss")


@breaks("B3")
def a_message_goes_astray(stage: Stage) -> None:
    """To another one as well."""
    stage.post(Note(source="mute", target="boss"), "boss", "left")


@breaks("B3")
def a_message_comes_from_nowhere(stage: Stage) -> None:
    """Nobody has posted it."""
    stage.tell("message_delivered", Note(source="mute"), "boss")


@breaks("B4")
def a_message_comes_too_late(stage: Stage) -> None:
    """Its receiver is over."""
    stage.leave("loner", CANCELLING, FINISHED)
    stage.post(Note(source="mute", target="loner"), "loner")


# -- hooks -----------------------------------------------------------------------------------------------------------------


@fine
def messages_are_shown(stage: Stage) -> None:
    """In their turn; what need not be shown is passed over, and what was dropped is not waited for."""
    told, news, note, lost = (
        Note(source="runner", target="boss"),
        BusJobUpdateRequestMessage(source="runner", target="boss", job_id="1"),
        Note(source="runner", target="boss"),
        Note(source="runner", target="boss"),
    )
    for message in (told, news, note, lost):
        stage.post(message, "boss")
    stage.hook("boss", "on_bus_message", told)
    stage.hook("boss", "on_bus_message", note)
    stage.tell("message_dropped", lost, "boss", "stopped")
    stage.tell("message_dropped", lost, "boss", "stopped")
    stage.tell("message_dropped", Note(source="nobody"), "boss", "stopped")
    stage.tell("message_dropped", BusJobUpdateMessage(source="left", target="boss", job_id="1"), "boss", "stopped")
    stage.tell("message_dropped", lost, "boss", "stranger")
    stage.tell("message_dropped", lost, None, "dead letter")
    stage.rest(shown=False)


@fine
def a_message_is_shown_by_several(stage: Stage) -> None:
    """One after the other, all are about the same message; and who shows nothing to count is not counted."""
    note, request = Note(source="runner", target="reader"), BusJobUpdateRequestMessage(source="runner", target="mute", job_id="1")
    stage.post(note, "reader")
    stage.hook("reader", "handles:Note", note)
    stage.hook("reader", "on_bus_message", note)
    stage.post(request, "mute")
    stage.hook("mute", "on_job_update_requested", request)
    stage.rest()


@breaks("B1")
def a_message_overtakes(stage: Stage) -> None:
    """One of the same sender and priority."""
    first, second = Note(source="mute", target="boss"), Note(source="mute", target="boss")
    stage.post(first, "boss")
    stage.post(second, "boss")
    stage.hook("boss", "on_bus_message", second)


@breaks("B1")
def a_message_is_shown_twice(stage: Stage) -> None:
    """With another one in between."""
    first, second = Note(source="mute", target="boss"), Note(source="mute", target="boss")
    stage.post(first, "boss")
    stage.post(second, "boss")
    for message in (first, second, first):
        stage.hook("boss", "on_bus_message", message)


@breaks("B1")
def a_lane_is_taken(stage: Stage) -> None:
    """Two hooks at the same time."""
    stage.hook_goes_on("boss")
    stage.hook("boss", "on_worker_failed", "an error")


@breaks("B2")
def data_goes_first(stage: Stage) -> None:
    """Though an urgent message waits, and nobody is busy with another."""
    stage.runner.bus.post(Bell(source="runner", target="boss"))
    stage.hook("boss", "on_worker_failed", "an error")


@fine
def data_goes_on(stage: Stage) -> None:
    """Somebody is busy with an urgent message; or another hook is about the same."""
    stage.tell("hook_started", "boss", "data", "on_job_response", stage)
    stage.tell("hook_ended", "boss", "data", "on_job_response", None)
    stage.runner.bus.post(Bell(source="runner", target="boss"))
    stage.hook("boss", "on_worker_failed", stage)
    stage.tell("hook_started", "boss", "system", "on_worker_failed", "an error")
    stage.hook("boss", "on_worker_failed", "another")


@breaks("B4")
def a_hook_comes_too_late(stage: Stage) -> None:
    """Its worker is over."""
    stage.leave("loner", CANCELLING, FINISHED)
    stage.hook("loner", "on_worker_failed", "an error")


@breaks("B4", "R1")
def a_hook_goes_on(stage: Stage) -> None:
    """Its worker is unregistered, and over, meanwhile."""
    stage.hook_goes_on("loner")
    stage.leave("loner", CANCELLING, FINISHED)


@breaks("B4")
def a_hook_comes_too_early(stage: Stage) -> None:
    """Its worker starts."""
    stage.arrive("new")
    stage.turn("new", STARTING)
    stage.hook("new", "on_bus_message", Note(source="boss"))


@fine
def a_hook_follows(stage: Stage) -> None:
    """Another one about the same, while its worker is told to stop; a child may fail before its parent is ready."""
    stage.tell("hook_started", "loner", "data", "on_job_response", stage)
    stage.tell("hook_ended", "loner", "data", "on_job_response", None)
    stage.turn("loner", CANCELLING)
    stage.hook("loner", "on_bus_message", stage)
    stage.arrive("new")
    stage.turn("new", STARTING)
    stage.hook("new", "on_worker_failed", "an error", "failures")


@breaks("B5")
def a_message_is_never_shown(stage: Stage) -> None:
    """Nothing else is to be done."""
    stage.post(Note(source="mute", target="boss"), "boss")
    stage.rest(shown=False)


@breaks("B5")
def a_lane_is_not_woken(stage: Stage) -> None:
    """It has something to show, and rests."""
    stage.runner.bus.post(Note(source="runner", target="reader"))
    stage.tell("hook_started", "reader", "system", "on_worker_failed", "an error")
    stage.rest()


@breaks("B5")
def a_request_is_forgotten(stage: Stage) -> None:
    """It came before its worker was ready."""
    stage.arrive("new")
    stage.turn("new", STARTING)
    stage.post(BusJobRequestMessage(source="runner", target="new", job_id="1"), "new")
    stage.between()
    assert not stage.found()
    stage.ready_at_last("new")
    stage.promises._hooks.check()


# -- activation ------------------------------------------------------------------------------------------------------------


@fine
def activations_follow(stage: Stage) -> None:
    """Each change once, in order; what is so already changes nothing."""
    for args in (None, {"n": 1}, {"n": 1}, {"n": 2}):
        stage.post(BusActivateWorkerMessage(source="runner", target="boss", args=args), "boss")
    for _ in range(2):
        stage.post(BusDeactivateWorkerMessage(source="runner", target="boss"), "boss")
    stage.tell("worker_active", "boss", NO)
    stage.hook("boss", "on_activated", {"n": 1}, "activation")
    stage.hook("boss", "on_activated", {"n": 2}, "activation")
    stage.hook("boss", "on_deactivated", None, "activation")
    stage.rest()


@fine
def only_the_last_counts_before_ready(stage: Stage) -> None:
    """What changes before READY is one hook, or none."""
    stage.arrive("new")
    stage.post(BusDeactivateWorkerMessage(source="runner", target="new"), "new")
    stage.turn("new", STARTING)
    stage.ready_at_last("new")
    stage.rest()


@fine
def it_ends_before_it_is_ready(stage: Stage) -> None:
    """Then it is never active, and ends as soon as it is ready."""
    stage.arrive("new")
    stage.turn("new", STARTING)
    stage.post(BusEndWorkerMessage(source="runner", target="new"), "new")
    stage.ready_at_last("new")
    stage.turn("new", ENDING)
    stage.post(BusDeactivateWorkerMessage(source="runner", target="new"), "new")
    stage.leave("new", FINISHED)


@fine
def hooks_that_nobody_has(stage: Stage) -> None:
    """They are not waited for; a handler that was added from outside may be called all the same."""
    stage.post(BusDeactivateWorkerMessage(source="runner", target="mute"), "mute")
    stage.post(BusActivateWorkerMessage(source="runner", target="mute"), "mute")
    stage.post(BusDeactivateWorkerMessage(source="runner", target="mute"), "mute")
    stage.hook("mute", "on_deactivated", None, "activation")
    stage.rest()


@breaks("L3")
def activated_once_more(stage: Stage) -> None:
    """Though nothing has changed."""
    stage.hook("boss", "on_activated", None, "activation")


@breaks("L3")
def activated_otherwise(stage: Stage) -> None:
    """With other arguments."""
    stage.post(BusActivateWorkerMessage(source="runner", target="boss", args={"n": 1}), "boss")
    stage.hook("boss", "on_activated", {"n": 2}, "activation")


@breaks("L3")
def never_deactivated(stage: Stage) -> None:
    """It waits for it."""
    stage.post(BusDeactivateWorkerMessage(source="runner", target="boss"), "boss")
    stage.rest()


@breaks("L3")
def activated_too_early(stage: Stage) -> None:
    """It is not ready."""
    stage.arrive("new")
    stage.turn("new", STARTING)
    stage.hook("new", "on_activated", None, "activation")


@breaks("L3")
def another_wish(stage: Stage) -> None:
    """It is said to be inactive, and nobody has asked for that."""
    stage.tell("worker_active", "boss", NO)


@breaks("L3")
def the_wish_is_not_granted(stage: Stage) -> None:
    """It was asked to be inactive, and is not."""
    stage.post(BusDeactivateWorkerMessage(source="runner", target="mute"), "mute")
    stage.between()


# -- who is there ----------------------------------------------------------------------------------------------------------


@fine
def news_come(stage: Stage) -> None:
    """Of each registration once, and of each loss; a root may be told of roots and by name."""
    stage.know("boss", "left")
    stage.know("loner", "boss")
    stage.hook("boss", "on_worker_ready", WorkerReadyData("left", "runner"))
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("left", ENDING)
    stage.tell("worker_unregistered", "left")
    stage.tell("watch_fired", "boss", "left", NO)
    stage.tell("watch_fired", "boss", "left", NO)
    stage.hook("boss", "on_worker_lost", WorkerLostData("left", "runner"))
    stage.detach("left")
    stage.turn("left", FINISHED)
    stage.between()
    stage.arrive("left", "boss")
    stage.ready("left")
    stage.hook("left", "on_activated", None, "activation")
    stage.know("boss", "left")
    stage.hook("boss", "on_worker_ready", WorkerReadyData("left", "runner"))
    stage.rest()


@fine
def news_of_oneself(stage: Stage) -> None:
    """A root's own readiness fires, and is told only to one that watches itself."""
    stage.know("boss", "boss")
    stage.hook("boss", "on_worker_ready", WorkerReadyData("boss", "runner"))
    stage.rest()


@fine
def news_that_nobody_wants(stage: Stage) -> None:
    """They are not waited for."""
    stage.know("mute", "boss")
    stage.leave("loner", CANCELLING, FINISHED)
    stage.know("mute", "left")
    stage.hook("mute", "on_worker_lost", WorkerLostData("mute", "runner"))
    stage.rest()


@breaks("R2")
def told_too_often(stage: Stage) -> None:
    """Of one registration."""
    stage.know("boss", "left", times=2)


@breaks("R2")
def told_of_nobody(stage: Stage) -> None:
    """Nobody of that name is ready."""
    stage.arrive("new")
    stage.tell("watch_fired", "boss", "new", YES)


@breaks("R2")
def told_that_it_is_lost(stage: Stage) -> None:
    """It is ready."""
    stage.tell("watch_fired", "boss", "left", NO)


@breaks("R2")
def told_when_it_is_over(stage: Stage) -> None:
    """A watch goes with its owner."""
    stage.leave("loner", CANCELLING, FINISHED)
    stage.know("loner", "boss")


@breaks("R2")
def never_told_that_it_is_lost(stage: Stage) -> None:
    """Though it was told that it is ready."""
    stage.know("boss", "left")
    stage.hook("boss", "on_worker_ready", WorkerReadyData("left", "runner"))
    stage.leave("left", CANCELLING, FINISHED, told=False)
    stage.between()


@fine
def no_need_to_be_told(stage: Stage) -> None:
    """It leaves itself."""
    stage.know("loner", "left")
    stage.turn("loner", CANCELLING)
    stage.leave("left", CANCELLING, FINISHED)
    stage.between()


@breaks("R2")
def a_root_is_not_told_of_a_root(stage: Stage) -> None:
    """There is a new one."""
    stage.arrive("new")
    stage.ready("new")
    stage.between()


@breaks("R2")
def a_hook_tells_what_never_was(stage: Stage) -> None:
    """Nobody has fired."""
    stage.hook("boss", "on_worker_ready", WorkerReadyData("left", "runner"))


@breaks("R2")
def news_that_never_come(stage: Stage) -> None:
    """It waits for them."""
    stage.know("boss", "left")
    stage.rest()


# -- requests --------------------------------------------------------------------------------------------------------------


@fine
def a_request(stage: Stage) -> None:
    """As it should be: asked, answered, decided, acknowledged, over, and told."""
    stage.blind("left")
    stage.ask("boss", "1", "left")
    stage.request("boss", "1", "left", timeout=1.0)
    stage.between()
    stage.work("left", "1", ACCEPTED, RUNNING, STREAMING)
    stage.tell("credit_spent", "left", "1", 63)
    event = BusJobStreamDataMessage(source="left", target="boss", job_id="1")
    stage.post(event, "boss")
    stage.tell("job_event", "boss", "1", "left", event)
    stage.hook("boss", "on_bus_message", event)
    stage.tell("job_event_seen", "boss", "1", "left")
    stage.tell("credit_granted", "left", "1", 1, 64)
    stage.work("left", "1", STREAMING, ANSWERED)
    end = BusJobStreamEndMessage(source="left", target="boss", job_id="1", data={"done": True})
    stage.post(end, "boss")
    stage.decide("boss", "1", "left", DONE)
    stage.tell("job_over", "boss", "1")
    stage.work("left", "1", ANSWERED, GONE)
    stage.hook("boss", "on_job_stream_end", end)
    stage.hook("boss", "on_bus_message", end)
    stage.hook("boss", "on_job_completed", JobGroupResponse("1", {}))
    stage.tell("job_event_seen", "boss", "1", "left")
    stage.between()
    stage.rest()


@fine
def a_request_to_somewhere_else(stage: Stage) -> None:
    """Nobody here knows what becomes of it there."""
    stage.ask("runner", "1", "far away")
    stage.between()
    stage.decide("runner", "1", "far away")
    stage.tell("job_over", "runner", "1")


@breaks("J1")
def asked_twice(stage: Stage) -> None:
    """Under one id."""
    stage.ask("boss", "1", "left")
    stage.ask("boss", "1", "loner")


@breaks("J1")
def decided_twice(stage: Stage) -> None:
    """The first outcome stays."""
    stage.ask("boss", "1", "left")
    for _ in range(2):
        stage.tell("job_decided", "boss", "1", "left", CANCELLED)


@breaks("J1")
def decided_unasked(stage: Stage) -> None:
    """By somebody who was not asked, or by nobody."""
    stage.ask("boss", "1", "left")
    stage.tell("job_decided", "boss", "1", "loner", CANCELLED)
    stage.tell("job_decided", "boss", "2", "loner", CANCELLED)


@breaks("J1")
def decided_as_nothing(stage: Stage) -> None:
    """There is no such status."""
    stage.ask("boss", "1", "left")
    stage.tell("job_decided", "boss", "1", "left", JobOutcome(cast("JobStatus", "perhaps")))


@breaks("J1")
def decided_without_an_answer(stage: Stage) -> None:
    """It cannot have completed."""
    stage.ask("boss", "1", "left")
    stage.decide("boss", "1", "left", DONE)


@breaks("J1")
def decided_against_its_answer(stage: Stage) -> None:
    """It had completed."""
    stage.ask("boss", "1", "left")
    stage.answer("left", "1", "boss")
    stage.decide("boss", "1", "left")


@fine
def decided_by_the_clock(stage: Stage) -> None:
    """An answer that comes when time is over is too late."""
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left", timeout=1.0)
    stage.wait(1)
    stage.work("left", "1", ACCEPTED, ANSWERED)
    stage.answer("left", "1", "runner")
    stage.decide("runner", "1", "left")


@fine
def decided_and_then_answered(stage: Stage) -> None:
    """The answer of one that was given up is only its acknowledgement."""
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left")
    stage.tell("job_decided", "runner", "1", "left", CANCELLED)
    stage.post(BusJobCancelMessage(source="runner", target="left", job_id="1"), "left")
    stage.work("left", "1", ACCEPTED, ANSWERED)
    stage.answer("left", "1", "runner")
    stage.tell("job_acknowledged", "runner", "1", "left")


@breaks("J1")
def acknowledged_undecided(stage: Stage) -> None:
    """Or by nobody."""
    stage.ask("boss", "1", "left")
    stage.tell("job_acknowledged", "boss", "1", "left")
    stage.tell("job_acknowledged", "boss", "2", "left")


@breaks("J1")
def over_unacknowledged(stage: Stage) -> None:
    """One of two is missing; or there was none."""
    stage.ask("boss", "1", "left", "loner")
    stage.decide("boss", "1", "left")
    stage.tell("job_over", "boss", "1")
    stage.tell("job_over", "boss", "2")


@breaks("J1")
def its_asker_is_over(stage: Stage) -> None:
    """Before what it asked."""
    stage.ask("loner", "1", "left")
    stage.leave("loner", CANCELLING, FINISHED)


@breaks("J1")
def told_of_an_end_too_early(stage: Stage) -> None:
    """Not all are decided."""
    stage.ask("boss", "1", "left", "loner")
    stage.tell("job_decided", "boss", "1", "left", CANCELLED)
    stage.hook("boss", "on_job_error", CANCELLED_MESSAGE)


@breaks("J1")
def told_of_an_end_twice(stage: Stage) -> None:
    """Once by each hook."""
    stage.ask("boss", "1", "left")
    stage.decide("boss", "1", "left")
    stage.hook("boss", "on_job_error", CANCELLED_MESSAGE)
    stage.hook("boss", "on_job_completed", JobGroupResponse("1", {}))


@breaks("J1")
def never_told_of_an_end(stage: Stage) -> None:
    """It waits for it; one that has no such hooks does not."""
    for name in ("boss", "mute"):
        stage.ask(name, "1", "left")
        stage.decide(name, "1", "left")
        stage.tell("job_over", name, "1")
    stage.rest()


@breaks("J1")
def a_group_has_failed_undecided(stage: Stage) -> None:
    """The record says so."""
    stage.ask("boss", "1", "far away", "farther")
    stage.pretend_groups("boss", "1", failure="said who")
    stage.decide("boss", "1", "farther")
    stage.between()


@fine
def a_group_goes_on(stage: Stage) -> None:
    """The record says so."""
    stage.ask("boss", "1", "far away")
    stage.pretend_groups("boss", "1", failure=None)
    stage.between()


@breaks("J2")
def waited_for_no_more(stage: Stage) -> None:
    """Though it runs."""
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left")
    stage.decide("runner", "1", "left")


@fine
def somebody_elses_job_runs(stage: Stage) -> None:
    """It has the same id."""
    stage.ask("runner", "1", "left")
    stage.request("boss", "1", "left")
    stage.decide("runner", "1", "left")


@breaks("J2")
def begun_though_told_to_stop(stage: Stage) -> None:
    """The cancel came before the first step."""
    stage.request("runner", "1", "left")
    stage.post(BusJobCancelMessage(source="runner", target="left", job_id="1"), "left")
    stage.work("left", "1", ACCEPTED, RUNNING)


@fine
def somebody_else_wants_it_stopped(stage: Stage) -> None:
    """That is nobody's business."""
    stage.request("runner", "1", "left")
    stage.post(BusJobCancelMessage(source="boss", target="left", job_id="1"), "left")
    stage.work("left", "1", ACCEPTED, RUNNING)


@breaks("J3")
def an_event_after_the_end(stage: Stage) -> None:
    """It is decided; or was never asked."""
    stage.ask("boss", "1", "left")
    stage.tell("job_decided", "boss", "1", "left", CANCELLED)
    for job_id in ("1", "2"):
        stage.tell("job_event", "boss", job_id, "left", BusJobUpdateMessage(source="left", target="boss", job_id=job_id))


@breaks("J3")
def a_hook_after_the_end(stage: Stage) -> None:
    """Of an event, and of the message."""
    update = BusJobUpdateMessage(source="left", target="boss", job_id="1")
    stage.ask("boss", "1", "left")
    stage.decide("boss", "1", "left")
    stage.hook("boss", "on_job_error", CANCELLED_MESSAGE)
    stage.hook("boss", "on_job_update", update)
    stage.hook("boss", "on_bus_message", attrs.evolve(update))


@breaks("J3")
def it_says_more(stage: Stage) -> None:
    """It has answered."""
    stage.request("runner", "1", "left")
    stage.work("left", "1", ACCEPTED, ANSWERED)
    for _ in range(2):
        stage.answer("left", "1", "runner")


@breaks("J3")
def it_says_something_when_it_is_answered(stage: Stage) -> None:
    """And not by an answer."""
    stage.request("runner", "1", "left")
    stage.work("left", "1", ACCEPTED, RUNNING)
    stage.post(BusJobUpdateMessage(source="left", target="runner", job_id="1"), "runner")
    assert not stage.found()
    stage.work("left", "1", RUNNING, ANSWERED)
    stage.post(BusJobUpdateMessage(source="left", target="runner", job_id="1"), "runner")


@breaks("J4")
def accepted_too_late(stage: Stage) -> None:
    """It is told to stop."""
    stage.turn("loner", CANCELLING)
    stage.request("runner", "1", "loner")


@breaks("J1")
def accepted_twice(stage: Stage) -> None:
    """It is there."""
    for _ in range(2):
        stage.request("runner", "1", "left")


@breaks("J4")
def active_and_not_known(stage: Stage) -> None:
    """What is there is not what was accepted."""
    stage.request("runner", "1", "left")
    stage.between()


@breaks("J4")
def a_job_leaps(stage: Stage) -> None:
    """From ACCEPTED to GONE."""
    stage.request("runner", "1", "left")
    stage.work("left", "1", RUNNING, ANSWERED)


@breaks("J4")
def its_answerer_is_over(stage: Stage) -> None:
    """Before its job."""
    stage.request("runner", "1", "loner")
    stage.work("loner", "1", ACCEPTED, ANSWERED)
    stage.tell("worker_unregistered", "loner")
    stage.promises.broken.clear()
    stage.detach("loner")
    stage.turn("loner", CANCELLING, FINISHED)


@breaks("J5")
def two_at_a_time(stage: Stage) -> None:
    """Of a sequential job."""
    for job_id in ("1", "2"):
        stage.request("runner", job_id, "mute", job_name="queue")
        stage.work("mute", job_id, ACCEPTED, RUNNING)


@breaks("J5")
def out_of_turn(stage: Stage) -> None:
    """The second before the first."""
    for job_id in ("1", "2"):
        stage.request("runner", job_id, "mute", job_name="queue", timeout=1.0)
    stage.work("mute", "2", ACCEPTED, RUNNING)


@fine
def in_turn(stage: Stage) -> None:
    """Who is told to stop, or has no time left, or does another job, is nobody to wait for."""
    stage.request("runner", "1", "mute", job_name="queue")
    stage.request("runner", "2", "mute", job_name="queue", timeout=0.5)
    stage.request("runner", "3", "mute", job_name="other")
    stage.request("runner", "4", "mute", job_name="queue")
    stage.request("runner", "5", "mute", job_name="queue")
    stage.post(BusJobCancelMessage(source="runner", target="mute", job_id="1"), "mute")
    stage.wait(1)
    stage.work("mute", "4", ACCEPTED, RUNNING)
    stage.work("mute", "3", ACCEPTED, RUNNING)


@breaks("J5")
def nobodys_turn(stage: Stage) -> None:
    """It waits, and nobody runs."""
    stage.request("runner", "1", "mute", job_name="queue")
    stage.rest()


@breaks("J7")
def it_never_begins(stage: Stage) -> None:
    """And waits for nobody."""
    stage.request("runner", "1", "mute")
    stage.rest()


@breaks("J7")
def it_waits_for_itself(stage: Stage) -> None:
    """It was asked for inside the job that it waits for."""
    stage.request("runner", "1", "mute", job_name="queue")
    stage.work("mute", "1", ACCEPTED, RUNNING)
    stage.request("mute", "2", "mute", job_name="queue", chain=("1@mute",))
    stage.rest()


@breaks("J6")
def more_than_a_window(stage: Stage) -> None:
    """Three members share 64: 21 each; what costs nothing is not counted."""
    stage.ask("runner", "1", "left", "loner", "mute")
    for kind in cast(
        "list[type[BusJobUpdateMessage]]", [BusJobStreamStartMessage, BusJobUpdateUrgentMessage, *[BusJobUpdateMessage] * 21]
    ):
        stage.tell("job_event", "runner", "1", "left", kind(source="left", target="runner", job_id="1"))
    assert not stage.found()
    stage.tell("job_event", "runner", "1", "left", BusJobUpdateMessage(source="left", target="runner", job_id="1"))


@breaks("J6")
def seen_too_often(stage: Stage) -> None:
    """There was no event."""
    stage.ask("runner", "1", "left")
    stage.tell("job_event_seen", "runner", "1", "left")


@breaks("J6")
def spent_more_than_there_is(stage: Stage) -> None:
    """The window is 1."""
    stage.request("runner", "1", "left", window=1)
    stage.tell("credit_spent", "left", "1", 0)
    stage.tell("credit_spent", "left", "1", -1)


@breaks("J6")
def counted_wrong(stage: Stage) -> None:
    """One of two is left."""
    stage.request("runner", "1", "left", window=2)
    stage.tell("credit_spent", "left", "1", 2)


@breaks("J6")
def granted_for_nothing(stage: Stage) -> None:
    """Nothing was consumed."""
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left", window=2)
    stage.tell("credit_granted", "left", "1", 1, 3)


@breaks("J6")
def never_paid(stage: Stage) -> None:
    """All is consumed, and nothing is left to send with."""
    stage.blind("left")
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left", window=1)
    stage.tell("credit_spent", "left", "1", 0)
    stage.tell("job_event", "runner", "1", "left", BusJobUpdateMessage(source="left", target="runner", job_id="1"))
    stage.between()
    assert not stage.found()
    stage.tell("job_event_seen", "runner", "1", "left")
    stage.between()


@breaks("J7")
def late(stage: Stage) -> None:
    """Its time is over."""
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left", timeout=1.0)
    stage.work("left", "1", ACCEPTED, RUNNING)
    stage.rest()
    assert not stage.found()
    stage.wait(1.1)
    stage.rest()


@breaks("J7")
def answered_and_not_heard(stage: Stage) -> None:
    """Its asker waits on."""
    stage.ask("runner", "1", "far away")
    stage.answer("far away", "1", "runner")
    stage.between()


@breaks("J7")
def no_way_out(stage: Stage) -> None:
    """There is no such job; or it is somebody else's."""
    stage.blind("left")
    stage.ask("runner", "1", "left")
    stage.ask("runner", "2", "loner")
    stage.request("boss", "1", "left")
    stage.between()


@fine
def held_until_it_is_ready(stage: Stage) -> None:
    """There will be such a job."""
    stage.arrive("new")
    stage.ask("runner", "1", "new")
    stage.between()


CANCELLED_MESSAGE = BusJobResponseMessage(source="left", target="boss", job_id="1", status=JobStatus.CANCELLED)


@pytest.mark.parametrize("told", STORIES, ids=str)
async def test_a_story_breaks_what_it_breaks(mock_clock: trio.testing.MockClock, told: Told) -> None:
    """L1-L7, J1-J7, B1-B5, R1, R2: what contradicts a promise is found, under its name and no other; what does not is not."""
    stage = play(await new_stage(mock_clock))
    told.story(stage)
    assert {line[:2] for line in stage.found()} == {*told.promises}, stage.found()


# -- what is really there --------------------------------------------------------------------------------------------------


@pytest.fixture
async def empty(mock_clock: trio.testing.MockClock) -> Stage:
    """A stage on which nothing has happened."""
    return await new_stage(mock_clock)


def letters(error: pytest.ExceptionInfo[BrokenPromiseError]) -> list[str]:
    """The promises that are told of as broken, in order."""
    return [line[:2] for line in str(error.value).split("\n")]


async def test_nothing_has_happened(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """As long as nothing has happened, nothing is broken, between steps or at rest."""
    empty.promises.check()
    empty.promises.check_rest()
    assert not empty.promises.failed
    assert empty.promises.tally == {}


async def test_a_breach_is_raised_once(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """What is broken is raised at the next look, each line once, and not at the one after; that something was broken is kept."""
    for _ in range(2):
        empty.tell("worker_state", "boss", READY, ENDING, None)
        empty.tell("worker_state", "boss", ENDING, ATTACHED, None)
    with pytest.raises(BrokenPromiseError) as caught:
        empty.promises.check()
    assert len(str(caught.value).split("\n")) == 2
    assert empty.promises.failed
    empty.promises.check()


async def test_promises_about_lives_that_have_begun(mock_clock: trio.testing.MockClock) -> None:
    """Whoever starts to watch later knows who is there, in which state, and who is active."""
    stage = await new_stage(mock_clock)
    stage.runner.bus.post(BusDeactivateWorkerMessage(source="runner", target="loner"))
    promises = Promises(stage.runner)
    stage.runner.bus.post(BusActivateWorkerMessage(source="runner", target="loner"))
    promises.check()


async def test_the_bus_does_not_know_a_name(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """L5: a worker that lives has its name on the bus."""
    empty.detach("loner")
    with pytest.raises(BrokenPromiseError, match=r"^L5: these live, and the bus does not know them: \['loner'\]$"):
        empty.promises.check()


async def test_ready_and_not_registered(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """R1: who is ready is registered."""
    empty.turn("left", STARTING, READY)
    with pytest.raises(BrokenPromiseError, match=r"^R1: 'left' is ready, and not registered$"):
        empty.promises.check()


async def test_registered_and_not_ready(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """R1: who is registered is ready, or was; what the entry says is so."""
    empty.turn("left", STARTING)
    empty.runner.registry.register(WorkerRegistryEntry("left", active=False))
    with pytest.raises(BrokenPromiseError) as caught:
        empty.promises.check()
    assert str(caught.value).split("\n") == [
        "R1: 'left' is registered, and starting",
        "R1: 'left' is registered as active: False, and is not so",
    ]


async def test_registered_and_not_told(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """R1: whoever looks on is told of all who are registered."""
    empty.runner.registry._local["who"] = WorkerRegistryEntry("who")
    with pytest.raises(BrokenPromiseError, match=r"^R1: registered are \['who'\], told of are \[\]$"):
        empty.promises.check()


TREES = {
    "as it should be": (
        [(1, "worker:boss"), (2, "system:boss"), (2, "worker:left"), (3, "job:work#1@left"), (2, "end:boss"), (1, "timeout:1@runner")],
        [],
    ),
    "somebody else's": ([(1, "main"), (2, "worker:who"), (3, "job:work#1@who"), (3, "job:work#1@left")], ["L4"]),
    "a child in its grandparent": ([(1, "worker:boss"), (1, "worker:left"), (2, "job:work#1@left")], ["L4"]),
    "a root in a worker": ([(1, "worker:boss"), (2, "worker:loner"), (2, "worker:left"), (3, "job:work#1@left")], ["L4"]),
    "a lane elsewhere": ([(1, "worker:left"), (2, "job:work#1@left"), (1, "system:left")], ["L4", "L4"]),
    "a job without a task": ([], ["J4"]),
    "a task without a job": ([(1, "worker:boss"), (2, "worker:left"), (3, "job:work#1@left"), (3, "job:work#2@left")], ["J2"]),
}


@pytest.mark.parametrize("tree", TREES)
async def test_trees(empty: Stage, mock_clock: trio.testing.MockClock, tree: str) -> None:
    """L4, J2, J4: each task is in the nursery of whom it belongs to, and each job that is not over has one."""
    tasks, promises = TREES[tree]
    life = empty.promises._ledger.lives["left"]
    life.state = READY
    empty.request("runner", "1", "left")
    broken: list[str] = []
    try:
        empty.promises.check_tree((depth, cast("Any", SimpleNamespace(name=name))) for depth, name in tasks)
    except BrokenPromiseError as error:
        broken = [line[:2] for line in str(error).split("\n")]
    assert broken == promises


async def test_everything_is_left(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """L4, R1, J1, J4, L5, J7: when the runner has returned, whatever is left is told of."""
    empty.turn("left", STARTING)
    empty.runner.registry.register(WorkerRegistryEntry("left"))
    empty.turn("left", READY)
    empty.request("runner", "1", "left")
    empty.ask("boss", "1", "left")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(empty.runner.registry.wait_ready, "who")
        await trio.testing.wait_all_tasks_blocked()
        empty.runner.bus._waiting[0] = SenderWaiting("boss", "left", 0.0)
        with pytest.raises(BrokenPromiseError) as caught:
            empty.promises.check_over(iter([(0, cast("Any", SimpleNamespace(name="worker:left")))]))
        nursery.cancel_scope.cancel()
    assert letters(caught) == ["L4", "R1", "J1", "J4", "L4", "L5", "J7", "J7"]


async def over(mock_clock: trio.testing.MockClock, *states: WorkerState) -> Stage:
    """A stage that all have left; these were the last states of the child, its parent and the runner."""
    stage = play(await new_stage(mock_clock))
    for name in ("left", *reversed(ROOTS)):
        state = {"left": states[0], "boss": states[1]}.get(name, FINISHED)
        stage.leave(name, CANCELLING, state)
    stage.runner._family.detach()
    stage.turn("runner", CANCELLING, states[2])
    return stage


@pytest.mark.parametrize("states", [(FINISHED, FINISHED, FINISHED), (FAILED, FAILED, FAILED), (FINISHED, FINISHED, FAILED)])
async def test_all_is_over(mock_clock: trio.testing.MockClock, states: tuple[WorkerState, ...]) -> None:
    """L7: when all have left, and who has failed took what is above it along, nothing is broken."""
    stage = await over(mock_clock, *states)
    stage.promises.check()
    stage.promises.check_over(iter(()))


@pytest.mark.parametrize("states", [(FAILED, FINISHED, FAILED), (FINISHED, FAILED, FINISHED)])
async def test_an_error_is_lost(mock_clock: trio.testing.MockClock, states: tuple[WorkerState, ...]) -> None:
    """L7: who dies of an error takes its parent along, up to the runner."""
    stage = await over(mock_clock, *states)
    with pytest.raises(BrokenPromiseError, match=r"^L7: '\w+' has failed, and '\w+' above it is finished$"):
        stage.promises.check_over(iter(()))


async def test_a_failed_start_takes_nobody_along(empty: Stage, mock_clock: trio.testing.MockClock) -> None:
    """L7: who fails before it was ready is told of by who started it."""
    empty.turn("left", STARTING, CANCELLING)
    empty.detach("left")
    empty.turn("left", FAILED)
    empty.promises._lives._dead[0].above = attrs.evolve(empty.promises._lives._dead[0], state=FINISHED)
    empty.promises._lives.check_over()
    assert not [line for line in empty.promises.broken if line.startswith("L7")]


async def test_who_watches_is_watched(mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """Those who watch must not have raised: else they were detached, and have not seen the rest."""
    stage = await over(mock_clock, FINISHED, FINISHED, FINISHED)
    stage.tell("message_posted", None)
    assert caplog.records
    with pytest.raises(BrokenPromiseError, match="one of those who watch has raised"):
        stage.promises.check_over(iter(()))


async def test_options(mock_clock: trio.testing.MockClock) -> None:
    """L6, J2, J7: what is allowed is no breach: handlers left behind, askers and handlers that shield themselves."""
    stage = play(await new_stage(mock_clock, may_leave_behind=True, may_shield=True, shutdown_timeout=1.0))
    stage.ask("runner", "1", "left")
    stage.request("runner", "1", "left", timeout=1.0)
    stage.work("left", "1", ACCEPTED, RUNNING)
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("left", ENDING)
    stage.wait(2)
    stage.rest()
    stage.decide("runner", "1", "left")
    assert not stage.found()


async def test_an_end_may_be_wanted_sooner(mock_clock: trio.testing.MockClock) -> None:
    """L6: an end is no later than is asked for here, if that is less than the runner says."""
    stage = play(await new_stage(mock_clock, shutdown_timeout=1.0))
    stage.hook_goes_on("left")
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("left", ENDING)
    stage.wait(1.5)
    stage.rest()
    assert [line[:2] for line in stage.found()] == ["L6"]
