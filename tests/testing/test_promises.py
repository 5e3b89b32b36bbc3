"""The promises, told of everything that must not happen: each breach is seen, and what only looks like one is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trio

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
    Observer,
    WorkerLostData,
    WorkerReadyData,
    WorkerRegistryEntry,
    WorkerRunner,
    WorkerState,
    handles,
    job,
)
from trioworkers.testing import BrokenPromiseError, Promises, Puppet

ATTACHED, STARTING, READY, ENDING = WorkerState.ATTACHED, WorkerState.STARTING, WorkerState.READY, WorkerState.ENDING
CANCELLING, FINISHED, FAILED = WorkerState.CANCELLING, WorkerState.FINISHED, WorkerState.FAILED
ACCEPTED, RUNNING, STREAMING = JobState.ACCEPTED, JobState.RUNNING, JobState.STREAMING
ANSWERED, GONE = JobState.ANSWERED, JobState.GONE
DONE = JobOutcome(JobStatus.COMPLETED, {"done": True})
CANCELLED = JobOutcome(JobStatus.CANCELLED)


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

    def __init__(self, runner: WorkerRunner, **options: Any) -> None:
        self.runner = runner
        self.promises = Promises(runner, **options)
        self.say = runner.bus.observers
        self.states = dict.fromkeys([worker.name for worker in runner.statistics().workers], ATTACHED)
        self.lines: list[str] = []

    def turn(self, name: str, *states: WorkerState) -> None:
        """A worker goes from state to state."""
        for state in states:
            old, self.states[name] = self.states.get(name, ATTACHED), state
            self.tell("worker_state", name, old, state, None)

    def tell(self, hook: str, *args: object) -> None:
        """Something has happened."""
        getattr(self.say, hook)(*args)

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
        for old, new in zip(states[:-1], states[1:], strict=True):
            self.tell("job_state", name, job_id, old, new)

    def answer(self, name: str, job_id: str, asker: str, outcome: JobOutcome = DONE) -> None:
        """A worker answers."""
        self.post(
            BusJobResponseMessage(
                source=name, target=asker, job_id=job_id, status=outcome.status, response=outcome.response, reason=outcome.reason
            ),
            asker,
        )

    def look(self, check: Callable[[], None]) -> None:
        """See what is broken."""
        try:
            check()
        except BrokenPromiseError as error:
            self.lines.extend(str(error).split("\n"))

    def between(self) -> None:
        """Look at what only those who are told know: what is really there does not go with a story."""
        for part in (self.promises._hooks, self.promises._jobs):
            self.look(part.check)
        self.promises._lives._check_watches()

    def rest(self) -> None:
        """Look as if nothing went on."""
        for part in (self.promises._lives, self.promises._hooks, self.promises._jobs):
            self.look(part.check_rest)

    def found(self) -> list[str]:
        """Everything that was found to be broken."""
        return [*self.lines, *self.promises.broken]


async def new_stage(**options: Any) -> Stage:
    """Raise the curtain."""
    runner = WorkerRunner(name="runner", handle_sigint=False, handle_sigterm=False, shutdown_timeout=4)
    boss = Puppet("boss")
    await boss.add_workers(Puppet("left"))
    await runner.add_workers(boss, Puppet("loner"), Mute("mute"), Wrapped("wrapped"), Reader("reader"))
    return Stage(runner, **options)


@pytest.fixture
async def stage() -> Stage:
    """One on which the runner and all workers are ready, the roots know of each other, and boss and left are active."""
    stage = await new_stage()
    stage.turn("runner", STARTING, READY)
    stage.ready("boss", "left", "loner", "mute", "wrapped", "reader")
    for name in ("boss", "left", "loner", "wrapped"):
        stage.hook(name, "on_activated", None, "activation")
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
    stage.tell("worker_attached", "new", None, "runner")
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
    stage.tell("worker_active", "theirs", True)
    stage.tell("watch_fired", "theirs", "boss", True)
    stage.tell("watch_fired", None, "boss", True)
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
    stage.tell("worker_unregistered", "loner")
    stage.lines += [line for line in stage.promises.broken if not line.startswith("R1")]
    stage.promises.broken.clear()
    stage.turn("loner", CANCELLING, FINISHED)


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
    stage.tell("worker_attached", "new", None, "runner")
    stage.tell("worker_unregistered", "new")


@breaks("R1")
def it_is_registered_late(stage: Stage) -> None:
    """It leaves already."""
    stage.tell("worker_attached", "new", None, "runner")
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
    stage.leave("loner", FINISHED)


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
    stage.tell("worker_attached", "new", None, "runner")
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
    stage.request("runner", "1", "boss")
    told, cancel, note, lost = (
        Note(source="runner", target="boss"),
        BusJobUpdateRequestMessage(source="runner", target="boss", job_id="1"),
        Note(source="runner", target="boss"),
        Note(source="runner", target="boss"),
    )
    for message in (told, cancel, note, lost):
        stage.post(message, "boss")
    stage.hook("boss", "on_bus_message", stage.mail("boss")[0])
    stage.hook("boss", "on_bus_message", told)
    stage.hook("boss", "on_bus_message", note)
    stage.tell("message_dropped", lost, "boss", "stopped")
    stage.tell("message_dropped", lost, "boss", "stopped")
    stage.tell("message_dropped", Note(source="nobody"), "boss", "stopped")
    stage.tell("message_dropped", lost, "boss", "stranger")
    stage.tell("message_dropped", lost, None, "dead letter")
    stage.rest()


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


@breaks("B4")
def a_hook_comes_too_early(stage: Stage) -> None:
    """Its worker starts."""
    stage.tell("worker_attached", "new", None, "runner")
    stage.turn("new", STARTING)
    stage.hook("new", "on_bus_message", Note(source="boss"))


@fine
def a_hook_follows(stage: Stage) -> None:
    """Another one about the same, while its worker is told to stop; a child may fail before its parent is ready."""
    stage.tell("hook_started", "loner", "data", "on_job_response", stage)
    stage.tell("hook_ended", "loner", "data", "on_job_response", None)
    stage.turn("loner", CANCELLING)
    stage.hook("loner", "on_bus_message", stage)
    stage.tell("worker_attached", "new", None, "runner")
    stage.turn("new", STARTING)
    stage.hook("new", "on_worker_failed", "an error", "failures")


@breaks("B5")
def a_message_is_never_shown(stage: Stage) -> None:
    """Nothing else is to be done."""
    stage.post(Note(source="mute", target="boss"), "boss")
    stage.rest()


@breaks("B5")
def a_lane_is_not_woken(stage: Stage) -> None:
    """It has something to show, and rests."""
    stage.runner.bus.post(Note(source="runner", target="reader"))
    stage.tell("hook_started", "reader", "system", "on_worker_failed", "an error")
    stage.rest()


@breaks("B5")
def a_request_is_forgotten(stage: Stage) -> None:
    """It came before its worker was ready."""
    stage.tell("worker_attached", "new", None, "runner")
    stage.turn("new", STARTING)
    stage.post(BusJobRequestMessage(source="runner", target="new", job_id="1"), "new")
    stage.between()
    assert not stage.found()
    stage.ready_at_last("new")
    stage.between()


# -- activation ------------------------------------------------------------------------------------------------------------


@fine
def activations_follow(stage: Stage) -> None:
    """Each change once, in order; what is so already changes nothing."""
    for args in (None, {"n": 1}, {"n": 1}, {"n": 2}):
        stage.post(BusActivateWorkerMessage(source="runner", target="boss", args=args), "boss")
    for _ in range(2):
        stage.post(BusDeactivateWorkerMessage(source="runner", target="boss"), "boss")
    stage.tell("worker_active", "boss", False)
    stage.hook("boss", "on_activated", {"n": 1}, "activation")
    stage.hook("boss", "on_activated", {"n": 2}, "activation")
    stage.hook("boss", "on_deactivated", None, "activation")
    stage.show_mail("boss")
    stage.rest()


@fine
def only_the_last_counts_before_ready(stage: Stage) -> None:
    """What changes before READY is one hook, or none."""
    stage.tell("worker_attached", "new", None, "runner")
    stage.tell("worker_state", "new", WorkerState.NEW, ATTACHED, None)
    stage.tell("worker_active", "new", True)
    stage.post(BusDeactivateWorkerMessage(source="runner", target="new"), "new")
    stage.turn("new", STARTING)
    stage.ready_at_last("new")
    stage.rest()


@fine
def it_ends_before_it_is_ready(stage: Stage) -> None:
    """Then it is never active, and ends as soon as it is ready."""
    stage.tell("worker_attached", "new", None, "runner")
    stage.tell("worker_state", "new", WorkerState.NEW, ATTACHED, None)
    stage.tell("worker_active", "new", True)
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
    stage.show_mail("boss")
    stage.rest()


@breaks("L3")
def activated_too_early(stage: Stage) -> None:
    """It is not ready."""
    stage.tell("worker_attached", "new", None, "runner")
    stage.turn("new", STARTING)
    stage.hook("new", "on_activated", None, "activation")


@breaks("L3")
def another_wish(stage: Stage) -> None:
    """It is said to be inactive, and nobody has asked for that."""
    stage.tell("worker_active", "boss", False)


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
    stage.know("loner", "boss", times=2)
    stage.hook("boss", "on_worker_ready", WorkerReadyData("left", "runner"))
    stage.hook("loner", "on_worker_ready", WorkerReadyData("boss", "runner"))
    stage.post(BusEndWorkerMessage(source="boss", target="left"), "left")
    stage.turn("left", ENDING)
    stage.tell("worker_unregistered", "left")
    stage.tell("watch_fired", "boss", "left", False)
    stage.tell("watch_fired", "boss", "left", False)
    stage.hook("boss", "on_worker_lost", WorkerLostData("left", "runner"))
    stage.detach("left")
    stage.turn("left", FINISHED)
    stage.between()
    stage.tell("worker_attached", "left", "boss", "runner")
    stage.ready("left")
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
    stage.tell("worker_attached", "new", None, "runner")
    stage.tell("watch_fired", "boss", "new", True)


@breaks("R2")
def told_that_it_is_lost(stage: Stage) -> None:
    """It is ready."""
    stage.tell("watch_fired", "boss", "left", False)


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
    stage.leave("left", CANCELLING, FINISHED)
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
    stage.tell("worker_attached", "new", None, "runner")
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
    stage.hook("boss", "on_job_stream_data", event)
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
    stage.show_mail("boss", "left")
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
    stage.tell("job_decided", "boss", "1", "left", attrs.evolve(CANCELLED, status="perhaps"))


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
    stage.ask("boss", "1", "left", "loner")
    stage.pretend_groups("boss", "1", failure="said who")
    stage.decide("boss", "1", "loner")
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
    for event in (BusJobStreamStartMessage, BusJobUpdateUrgentMessage, *[BusJobUpdateMessage] * 21):
        stage.tell("job_event", "runner", "1", "left", event(source="left", target="runner", job_id="1"))
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
    stage.show_mail("left")
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
    stage.tell("worker_attached", "new", None, "runner")
    stage.ask("runner", "1", "new")
    stage.between()


CANCELLED_MESSAGE = BusJobResponseMessage(source="left", target="boss", job_id="1", status=JobStatus.CANCELLED)


@pytest.mark.parametrize("told", STORIES, ids=str)
async def test_a_story_breaks_what_it_breaks(stage: Stage, told: Told) -> None:
    """L1-L7, J1-J7, B1-B5, R1, R2: what contradicts a promise is found, under its name and no other; what does not is not."""
    told.story(stage)
    assert {line[:2] for line in stage.found()} == {*told.promises}, stage.found()
