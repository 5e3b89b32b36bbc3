"""What a worker is asked to be, active or inactive, and the hooks that follow."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from life_support import Actor, Log, Napper, ask, boom, errors_of, idle, state
from support import Note, Recorder, settle, within
from trio.testing import MockClock

from trioworkers import (
    BaseWorker,
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusMessage,
    JobError,
    LocalBus,
    UnknownWorkerError,
    WorkerActivationArgs,
    WorkerRunner,
    WorkerStateError,
    job,
    open_runner,
)
from trioworkers._transitions import WorkerState

ONE, TWO = WorkerActivationArgs({"n": 1}), WorkerActivationArgs({"n": 2})
FIRST, SECOND = {"metadata": {"n": 1}}, {"metadata": {"n": 2}}


class Late(Recorder):
    """Is ready after two seconds."""

    async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take its time."""
        await trio.sleep(2)
        await super().run(params, task_status=task_status)


class Pair(LocalBus):
    """Looks, after every post, at who is active."""

    def __init__(self, *workers: BaseWorker) -> None:
        super().__init__()
        self.workers = workers
        self.seen: Log = []

    def post(self, message: BusMessage) -> None:
        """Post, then look."""
        super().post(message)
        self.seen.append([worker.name for worker in self.workers if worker.active])


def changes(log: Log, name: str = "worker") -> Log:
    """Return what a log says of one worker's activation hooks: those of the data lane run beside them, in no order."""
    return [what for what in log if what[0] == name and what[1] in {"activated", "deactivated"}]


# -- the hooks -----------------------------------------------------------------------------------------------------------


async def test_each_change_fires_one_hook() -> None:
    """L3: ``active`` and its args change on arrival; each accepted change fires exactly one hook, in order."""
    boss, worker = BaseWorker("boss"), Recorder("worker", active=False)
    seen: Log = []
    async with open_runner(boss, worker):
        for args in (ONE, None, TWO):
            await boss.activate_worker("worker", args=args)
            seen.append((worker.active, worker.activation_args))
            await boss.deactivate_worker("worker")
            seen.append((worker.active, worker.activation_args))
        assert changes(worker.log) == []
        await settle()
    assert seen == [(True, FIRST), (False, None), (True, None), (False, None), (True, SECOND), (False, None)]
    assert changes(worker.log) == [
        ("worker", "activated", FIRST),
        ("worker", "deactivated"),
        ("worker", "activated", None),
        ("worker", "deactivated"),
        ("worker", "activated", SECOND),
        ("worker", "deactivated"),
    ]


async def test_what_is_so_already_fires_nothing() -> None:
    """L3, U46: asking for the present state changes nothing and fires nothing; two on_activated in a row differ in args."""
    worker = Recorder("worker")
    async with open_runner(worker) as runner:
        for args in (None, None, ONE, ONE, TWO, TWO, ONE):
            await worker.activate_worker("worker", args=args)
        for _ in range(2):
            await worker.deactivate_worker("worker")
        await settle()
        assert runner.registry.local_workers == ["worker"]
    assert worker.log == [
        ("worker", "activated", None),
        ("worker", "activated", FIRST),
        ("worker", "activated", SECOND),
        ("worker", "activated", FIRST),
        ("worker", "deactivated"),
    ]


@pytest.mark.parametrize("ready_after", range(4))
async def test_the_hooks_follow_the_rule(ready_after: int) -> None:
    """L3, U46: for every short history of wishes, READY coming anywhere in it, the hooks are those that the rule says."""
    for history in itertools.product(("one", "two", "off"), repeat=3):
        worker = Recorder("worker", active=False)
        runner = WorkerRunner()
        await runner.add_workers(worker)
        expected: Log = []
        now: Any = None
        async with trio.open_nursery() as nursery:
            for step in range(4):
                if step == ready_after:
                    await nursery.start(partial(runner.run, auto_end=False))
                    expected += [] if now is None else [("worker", "activated", now)]
                wish = (*history, "off")[step]
                after = {"one": FIRST, "two": SECOND, "off": None}[wish]
                await {
                    "one": partial(worker.activate_worker, "worker", args=ONE),
                    "two": partial(worker.activate_worker, "worker", args=TWO),
                    "off": partial(worker.deactivate_worker, "worker"),
                }[wish]()
                if step >= ready_after and after != now:
                    expected.append(("worker", "deactivated") if after is None else ("worker", "activated", after))
                now = after
            await settle()
            await runner.end()
        assert (history, worker.log) == (history, expected)


@pytest.mark.parametrize("starting", [True, False])
@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ((), [("late", "activated", None)]),
        (({"n": 1},), [("late", "activated", {"n": 1})]),
        (({"n": 1}, {"n": 2}), [("late", "activated", {"n": 2})]),
        (("off",), []),
        (({"n": 1}, "off", "off"), []),
        (("off", {"n": 1}), [("late", "activated", {"n": 1})]),
    ],
)
async def test_before_ready_only_the_last_wish_counts(
    wishes: tuple[Any, ...], expected: Log, starting: bool, autojump_clock: MockClock
) -> None:
    """L3, U45, U46: wishes that come before READY are kept; at READY the last one fires its hook, a last deactivation none."""
    late, runner = Late("late"), WorkerRunner()
    await runner.add_workers(late)
    async with trio.open_nursery() as nursery:
        if starting:
            nursery.start_soon(partial(runner.run, auto_end=False))
            await trio.sleep(1)
        assert state(late) is (WorkerState.STARTING if starting else WorkerState.ATTACHED)
        for wish in wishes:
            runner.bus.post(
                BusDeactivateWorkerMessage(source="test", target="late")
                if wish == "off"
                else BusActivateWorkerMessage(source="test", target="late", args=wish)
            )
        assert late.log == []
        if not starting:
            nursery.start_soon(partial(runner.run, auto_end=False))
        await trio.sleep(3)
        entry = runner.registry.get("late")
        assert (late.log, late.active, entry is not None and entry.active) == (expected, bool(expected), bool(expected))
        await runner.end()


async def test_a_child_is_activated_before_it_starts() -> None:
    """U45: a child given before its parent runs can be activated then; it is when it starts."""
    parent, child, runner = BaseWorker("parent"), Recorder("child", active=False), WorkerRunner()
    await parent.add_workers(child)
    await runner.add_workers(parent)
    await parent.activate_worker("child", args=ONE)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        await settle()
        await runner.end()
    assert child.log == [("child", "activated", FIRST)]


async def test_on_deactivated_waits_for_on_activated(autojump_clock: MockClock) -> None:
    """L3: ``active`` is False at once, on_deactivated and the next on_activated run when the running hook has returned."""
    log: Log = []

    class Slowly(Actor):
        async def on_deactivated(self) -> None:
            log.append(("off", trio.current_time()))
            await trio.sleep(3)
            log.append(("off done", trio.current_time()))

    async def script(actor: Actor) -> None:
        log.append(("on", actor.activation_args, trio.current_time()))
        await trio.sleep(5)
        log.append(("on done", trio.current_time()))

    worker = Slowly("worker", script)
    async with open_runner(worker):
        await trio.sleep(1)
        await worker.deactivate_worker("worker")
        assert not worker.active
        await worker.activate_worker("worker", args=ONE)
        await trio.sleep(20)
    assert log == [("on", None, 0), ("on done", 5), ("off", 5), ("off done", 8), ("on", FIRST, 8), ("on done", 13)]


async def test_a_coordinator_may_live_in_on_activated(autojump_clock: MockClock) -> None:
    """I10: a long on_activated has a task of its own: messages, their hooks, jobs and wishes go on beside it."""
    seen: Log = []

    class Coordinator(Napper):
        async def on_activated(self, args: object) -> None:
            await idle(self)

        async def on_bus_message(self, message: BusMessage) -> None:
            seen.extend([message.text] if isinstance(message, Note) else [])

    worker = Coordinator("worker")
    async with open_runner(worker) as runner, within(5):
        runner.bus.post(Note(source="test", target="worker", text="hello"))
        assert await ask(runner, "worker", "nap", seconds=1) == {"slept": 1}
        await worker.deactivate_worker("worker")
        assert (seen, worker.active) == (["hello"], False)
        await worker.stop()


async def test_handlers_run_right_after_their_hook() -> None:
    """Handlers registered for an activation hook, also late, run after the hook and before the next one, in the same task."""
    worker = Recorder("worker")
    tasks: list[trio.lowlevel.Task] = []

    async def after(worker: BaseWorker, args: Any) -> None:
        tasks.append(trio.lowlevel.current_task())
        assert isinstance(worker, Recorder)
        worker.note("handler", args)

    @worker.event_handler("on_deactivated")
    def gone(worker: Recorder) -> None:
        tasks.append(trio.lowlevel.current_task())
        worker.note("gone")

    async with open_runner(worker):
        await settle()
        worker.add_event_handler("on_activated", after)
        await worker.activate_worker("worker", args=ONE)
        await worker.deactivate_worker("worker")
        await settle()
    assert worker.log == [
        ("worker", "activated", None),
        ("worker", "activated", FIRST),
        ("worker", "handler", FIRST),
        ("worker", "deactivated"),
        ("worker", "gone"),
    ]
    assert tasks[0] is tasks[1]
    assert tasks[0].name == "activation:worker"


async def test_a_handler_alone_is_enough() -> None:
    """A worker whose class overrides nothing has its activation handlers run."""
    worker, log = BaseWorker("worker"), []
    worker.add_event_handler("on_activated", lambda worker, args: log.append((worker.name, args)))
    async with open_runner(worker):
        await settle()
    assert log == [("worker", None)]


async def test_on_bus_message_comes_after_the_change() -> None:
    """on_bus_message sees an activation and a deactivation when they have taken effect."""
    log: Log = []

    class Reader(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            if message.target == self.name:
                log.append((type(message).__name__, self.active))

    reader = Reader("reader", active=False)
    async with open_runner(reader):
        for change in (reader.activate_worker, reader.deactivate_worker):
            await change("reader")
            await settle()
        assert log == [("BusActivateWorkerMessage", True), ("BusDeactivateWorkerMessage", False)]


# -- activating others ---------------------------------------------------------------------------------------------------


async def test_a_handoff_never_leaves_two_active() -> None:
    """R7, R24: at no moment of a handoff are both active, and the target's hook does not wait for the source's."""
    log: Log = []

    async def hand_over(actor: Actor) -> None:
        await actor.activate_worker("target", args=ONE, deactivate_self=True)
        log.append((actor.active, target.active))
        await idle(actor)

    source, target = Actor("source", hand_over), Recorder("target", active=False)
    bus = Pair(source, target)
    async with open_runner(target, source, bus=bus):
        await settle()
        await source.stop()
    assert log == [(False, True)]
    assert changes(target.log, "target") == [("target", "activated", FIRST)]
    assert [names for names, _ in itertools.groupby(bus.seen)] == [["source"], [], ["target"]]


async def test_a_ring_of_handoffs() -> None:
    """R7: however often two workers hand over to each other, at most one is active, and each sees its hooks in turn."""
    log: Log = []
    left, right = Recorder("left", log=log), Recorder("right", active=False, log=log)
    bus = Pair(left, right)
    async with open_runner(left, right, bus=bus):
        for _ in range(20):
            await left.activate_worker("right", deactivate_self=True)
            await right.activate_worker("left", deactivate_self=True)
        await settle()
    assert max(len(names) for names in bus.seen) == 1
    for name, count in (("left", 41), ("right", 40)):
        assert [what[1] for what in changes(log, name)] == (["activated", "deactivated"] * 21)[:count]


@pytest.mark.parametrize("handing_over", [True, False])
async def test_a_handoff_to_nobody_changes_nothing(handing_over: bool) -> None:
    """U45: activating a name nobody has is an error to the caller, who stays active; nothing is sent, no hook runs."""
    worker = Recorder("worker")
    async with open_runner(worker) as runner:
        await settle()
        posted = runner.bus.statistics().posted
        with pytest.raises(UnknownWorkerError, match="nobody is called 'ghost'"):
            await worker.activate_worker("ghost", deactivate_self=handing_over)
        with pytest.raises(UnknownWorkerError, match="nobody is called 'ghost'"):
            await worker.deactivate_worker("ghost")
        await settle()
        assert (worker.active, runner.bus.statistics().posted - posted) == (True, 0)
    assert worker.log == [("worker", "activated", None)]


async def test_a_handoff_to_the_runner_changes_nothing() -> None:
    """U45: a runner is no worker, and cannot be active: handing over to it is an error, and the source stays active."""
    worker = Recorder("worker")
    async with open_runner(worker) as runner:
        with pytest.raises(UnknownWorkerError):
            await worker.activate_worker(runner.name, deactivate_self=True)
        assert worker.active


async def test_a_handoff_to_oneself() -> None:
    """A worker that hands over to itself is deactivated, then active again with the new args."""
    worker = Recorder("worker")
    async with open_runner(worker):
        await worker.activate_worker("worker", args=ONE, deactivate_self=True)
        assert worker.activation_args == FIRST
        await settle()
    assert worker.log == [("worker", "activated", None), ("worker", "deactivated"), ("worker", "activated", FIRST)]


async def test_an_inactive_worker_has_nothing_to_hand_over() -> None:
    """A handoff by an inactive worker activates the target, and fires no on_deactivated."""
    source, target = Recorder("source", active=False), BaseWorker("target", active=False)
    async with open_runner(source, target) as runner:
        posted = runner.bus.statistics().posted
        await source.activate_worker("target", deactivate_self=True)
        await settle()
        assert runner.bus.statistics().posted == posted + 1
        assert (source.active, target.active) == (False, True)
    assert changes(source.log, "source") == []


async def test_a_cancelled_call_changes_nothing() -> None:
    """A call that is cancelled had no effect: nobody is active or inactive because of it."""
    worker, other = BaseWorker("worker"), BaseWorker("other", active=False)
    async with open_runner(worker, other):
        for call in (partial(worker.activate_worker, "other", deactivate_self=True), partial(worker.deactivate_worker, "worker")):
            with trio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught
            assert (worker.active, other.active) == (True, False)


async def test_bad_arguments_are_refused() -> None:
    """Wrong types are errors at the call, and change nothing; so is a worker that has no bus."""
    worker = BaseWorker("worker")
    with pytest.raises(WorkerStateError, match="not attached"):
        await worker.activate_worker("worker")
    async with open_runner(worker):
        with pytest.raises(TypeError, match="WorkerActivationArgs or None"):
            await worker.activate_worker("worker", args={"n": 1}, deactivate_self=True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be a str"):
            await worker.activate_worker(worker, deactivate_self=True)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="must not be empty"):
            await worker.deactivate_worker("")
        assert (worker.active, worker.activation_args) == (True, None)


async def test_args_of_a_subclass() -> None:
    """Args may be of a subclass: on_activated gets a dict without the Nones, from which the subclass can be built again."""

    @attrs.define
    class Handover(WorkerActivationArgs):
        topic: str | None = None
        length: int = 3

    worker = Recorder("worker", active=False)
    async with open_runner(worker):
        for args in (Handover(topic="trees"), Handover({"k": [1]}, length=5), WorkerActivationArgs()):
            await worker.activate_worker("worker", args=args)
        await settle()
    received = [what[2] for what in worker.log]
    assert received == [{"topic": "trees", "length": 3}, {"metadata": {"k": [1]}, "length": 5}, None]
    assert [Handover.from_dict({**data, "unknown": 1}) for data in received[:2]] == [
        Handover(topic="trees"),
        Handover({"k": [1]}, length=5),
    ]
    assert WorkerActivationArgs.from_dict(received[1]) == WorkerActivationArgs({"k": [1]})


async def test_the_registry_follows() -> None:
    """The registry's entry says whether a worker is active now, and is otherwise as it was; nobody is told that it is ready again."""
    times = iter([100.0])
    runner, worker = WorkerRunner(clock=lambda: next(times)), BaseWorker("worker", active=False)
    seen: Log = []
    runner.registry.watch("worker", seen.append)
    await runner.add_workers(worker)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(runner.run, auto_end=False))
        for change, active in ((worker.activate_worker, True), (worker.deactivate_worker, False)):
            await change("worker")
            entry = runner.registry.get("worker")
            assert entry is not None
            assert (entry.active, entry.started_at, worker.started_at) == (active, 100.0, 100.0)
        await runner.end()
    assert len(seen) == 1


# -- inactivity is a state -----------------------------------------------------------------------------------------------


async def test_an_inactive_worker_works(autojump_clock: MockClock) -> None:
    """U5, R23: inactivity is a state, never a filter: jobs, messages and cancels come as ever."""
    seen: Log = []
    worker = Napper("worker")

    @worker.event_handler("on_bus_message")
    def note(worker: BaseWorker, message: BusMessage) -> None:
        seen.extend([message.text] if isinstance(message, Note) else [])

    async with open_runner(worker) as runner, within(5):
        await worker.deactivate_worker("worker")
        runner.bus.post(Note(source="test", target="worker", text="hello"))
        assert await ask(runner, "worker", "nap", seconds=1) == {"slept": 1}
        with pytest.raises(JobError, match="timeout"):
            async with runner.job("worker", name="nap", timeout=1):
                await trio.sleep_forever()
    assert seen == ["hello"]
    assert worker.log == [("worker", "begins"), ("worker", "wakes", 1), ("worker", "begins"), ("worker", "tidied up", 3)]


async def test_a_requester_that_is_deactivated_gets_its_answers(autojump_clock: MockClock) -> None:
    """U5: answers, updates and cancels of work in flight reach who asked, though it is inactive by then."""

    class Teller(BaseWorker):
        @job
        async def tell(self, message: BusJobRequestMessage) -> dict[str, Any]:
            await trio.sleep(1)
            await self.send_job_update(message.job_id, {"half": True})
            await trio.sleep(1)
            return {"done": True}

    boss, teller = Recorder("boss"), Teller("teller")
    async with open_runner(teller, boss):
        await boss.request_job("teller", name="tell")
        given_up = await boss.request_job("teller", name="tell")
        await boss.deactivate_worker("boss")
        await settle()
        await boss.cancel_job_group(given_up, reason="one will do")
        await trio.sleep(3)
    assert [what[1:] for what in boss.log if what[1] in ("deactivated", "update", "response", "completed", "error")] == [
        ("deactivated",),
        ("error", "teller", "cancelled", "one will do"),
        ("update", "teller", {"half": True}),
        ("response", "teller", "completed", {"done": True}),
        ("completed", {"teller": {"done": True}}),
    ]


async def test_on_activated_may_ask_and_hand_over(autojump_clock: MockClock) -> None:
    """U5, I10: a worker that hands over in on_activated while its own request is out gets the answer there."""
    log: Log = []

    async def script(actor: Actor) -> None:
        async with actor.job("napper", name="nap", payload={"seconds": 2}) as nap:
            await actor.activate_worker("napper", deactivate_self=True)
        log.append((actor.active, nap.response))

    async with open_runner(Napper("napper"), Actor("actor", script)), within(5):
        await trio.sleep(3)
    assert log == [(False, {"slept": 2})]


async def test_deactivation_always_arrives(autojump_clock: MockClock) -> None:
    """R15: on_deactivated fires though the worker asked for it itself, and though its data lane hangs."""
    log: Log = []

    class Stuck(Recorder):
        async def on_activated(self, args: object) -> None:
            await self.deactivate_worker(self.name)
            await trio.sleep(1)
            self.note("activated", args)

        async def on_bus_message(self, message: BusMessage) -> None:
            await trio.sleep_forever()

    stuck = Stuck("stuck", log=log)
    async with open_runner(stuck):
        await trio.sleep(2)
        await stuck.stop()
    assert log == [("stuck", "activated", None), ("stuck", "deactivated")]


async def test_what_a_child_says_in_on_activated_is_heard(autojump_clock: MockClock) -> None:
    """R19: a message that a child sends in on_activated reaches its parent, though that is not ready yet."""
    heard: Log = []

    class Parent(Late):
        async def on_bus_message(self, message: BusMessage) -> None:
            heard.extend([(message.text, state(self))] if isinstance(message, Note) else [])

    async def speak(actor: Actor) -> None:
        await actor.send_bus_message(Note(source=actor.name, target="parent", text="here I am"))

    parent = Parent("parent")
    await parent.add_workers(Actor("child", speak))

    class Slowest(Actor):
        async def start(self) -> None:
            await trio.sleep(2)
            await super().start()

    await parent.add_workers(Slowest("sibling", idle, active=False))
    async with open_runner(parent):
        await settle()
    assert heard == [("here I am", WorkerState.READY)]


# -- the end -------------------------------------------------------------------------------------------------------------


async def test_activation_while_ending(autojump_clock: MockClock) -> None:
    """L3: a worker that drains still follows wishes, each with its hook; a long on_activated leaves with wait_ending."""
    log: Log = []

    async def script(actor: Actor) -> None:
        log.append(("on", actor.activation_args))
        await actor.wait_ending()
        log.append(("leaving", state(actor), trio.current_time()))
        await trio.sleep(1)
        log.append(("left", actor.active))

    worker = Actor("worker", script)
    worker.add_event_handler("on_deactivated", lambda worker: log.append(("off", state(worker))))
    async with open_runner(worker) as runner, within(8):
        await trio.sleep(3)
        await runner.end()
        await settle()
        await worker.deactivate_worker("worker")
        await worker.activate_worker("worker", args=TWO)
        await worker.wait()
        assert trio.current_time() == 5
    assert log == [
        ("on", None),
        ("leaving", WorkerState.ENDING, 3),
        ("left", True),
        ("off", WorkerState.ENDING),
        ("on", SECOND),
        ("leaving", WorkerState.ENDING, 4),
        ("left", True),
    ]


async def test_no_hook_once_it_leaves(autojump_clock: MockClock) -> None:
    """L3, B4: no activation hook starts when a worker was cancelled; one that is tidying up is neither shown nor registered again."""
    log: Log = []

    class Tidy(Recorder):
        async def on_activated(self, args: object) -> None:
            self.note("activated", args)
            await trio.sleep_forever()

        async def run(self, params: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            try:
                await super().run(params, task_status=task_status)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)

    tidy, boss = Tidy("tidy", log=log), BaseWorker("boss")
    async with open_runner(tidy, boss) as runner:
        await settle()
        await boss.deactivate_worker("tidy")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tidy.stop)
            await trio.sleep(1)
            await boss.activate_worker("tidy", args=ONE)
            assert (state(tidy), tidy.active, runner.registry.local_workers) == (WorkerState.CANCELLING, True, ["boss"])
        with pytest.raises(UnknownWorkerError):
            await boss.activate_worker("tidy", args=TWO)
        dead = runner.bus.statistics().dead_letters
        runner.bus.post(BusActivateWorkerMessage(source="boss", target="tidy"))
        await settle()
        assert runner.bus.statistics().dead_letters == dead + 1
        assert tidy.activation_args == FIRST
    assert changes(log, "tidy") == [("tidy", "activated", None)]


@pytest.mark.parametrize("hook", ["on_activated", "on_deactivated"])
async def test_an_activation_hook_that_raises_fails_its_worker(hook: str) -> None:
    """I7: an error that leaves an activation hook fails the worker; the hooks queued behind it never run."""
    worker = Recorder("worker", active=False)
    worker.add_event_handler(hook, lambda worker, *args: boom(worker))

    async def run() -> None:
        async with open_runner(worker):
            await worker.activate_worker("worker", args=ONE)
            await worker.deactivate_worker("worker")
            await worker.activate_worker("worker", args=TWO)
            await trio.sleep_forever()

    assert await errors_of(run) == ["ValueError: boom"]
    assert [what[1] for what in worker.log] == ["activated", "deactivated"][: 2 if hook == "on_deactivated" else 1]


@pytest.mark.parametrize("ending", [True, False])
async def test_a_job_error_leaves_a_hook(ending: bool, autojump_clock: MockClock) -> None:
    """A JobError that leaves a hook of an ENDING worker ends that hook; of a READY worker, the worker."""
    tidied: Log = []

    async def script(actor: Actor) -> None:
        if ending:
            await actor.wait_ending()
        try:
            await ask(actor, "worker", "nothing of that kind")
        finally:
            tidied.append(state(actor))

    worker = Actor("worker", script)

    async def run() -> None:
        async with open_runner(worker) as runner:
            await settle()
            await runner.end()
            await worker.wait()

    errors = await errors_of(run)
    assert [error.split(":")[0] for error in errors] == ([] if ending else ["JobError"])
    assert tidied == [WorkerState.ENDING if ending else WorkerState.READY]


async def test_hooks_that_nobody_overrides_cost_nothing() -> None:
    """A worker without activation hooks changes without anything being queued for it."""
    worker = BaseWorker("worker")
    async with open_runner(worker):
        await worker.activate_worker("worker", args=ONE)
        await worker.deactivate_worker("worker")
        core: Any = worker._BaseWorker__core  # type: ignore[attr-defined]
        assert core.activation.lane.peak == 0
