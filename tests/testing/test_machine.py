"""The state machine over workers: its rules, what it finds, what it does after a failure, and that it is not vacuous."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from trioworkers import BaseWorker, WorkerRegistry, WorkerRunner
from trioworkers.testing import BrokenPromiseError, LifecycleSystem, Puppet, VacuousError, World, operation
from trioworkers.testing.hypothesis import LifecycleMachine, check_machine, names
from trioworkers.testing.system import LeakError

QUICK = settings(
    max_examples=5,
    stateful_step_count=10,
    deadline=None,
    database=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LONG = settings(QUICK, max_examples=300, stateful_step_count=30)


def run(kind: type[LifecycleMachine], how: settings = QUICK) -> None:
    """Run it, whatever it may have missed."""
    check_machine(kind, settings=how, must=())


def rules_of(kind: type[LifecycleMachine]) -> dict[str, list[str]]:
    """The names of all rules, and of their arguments."""
    return {each.function.__name__: [*each.arguments] for each in kind.setup_state().rules}


@contextmanager
def started(kind: type[LifecycleMachine]) -> Iterator[LifecycleMachine]:
    """A machine whose world has begun, outside of Hypothesis."""
    machine = kind()
    machine.begin(seed=0, step_cost=0.0)
    try:
        yield machine
    finally:
        machine.teardown()


# -- rules -----------------------------------------------------------------------------------------------------------------


def test_there_is_a_rule_for_everything() -> None:
    """Each operation of the system is a rule, with its arguments and how many steps follow; so are time, and what has no operation."""
    rules = rules_of(LifecycleMachine)
    marks = LifecycleSystem.marks
    assert {verb: len(mark.choices) + 1 for verb, mark in marks.items() if verb != "leave"}.items() <= {
        name: len(arguments) for name, arguments in rules.items()
    }.items()
    assert set(rules) - set(marks) == {"step", "settle", "advance", "hand_over", "stream", "ask_news", "clean_up"}
    assert {"add", "activate", "request", "ask", "ask_group", "answer", "cancel_jobs", "tell", "stop_worker", "crash"} <= set(rules)


class Team(LifecycleSystem):
    """Has operations of its own, and one less."""

    kinds = ("x", "y")

    @operation("kinds", (7,))
    async def shout(self, target: str, steps: int) -> None:
        """Its arguments have names that Hypothesis, or a machine, uses itself."""
        self.shouts = [*getattr(self, "shouts", ()), (target, steps)]

    @operation(weight=0)
    async def crash(self, name: str) -> None:
        """Nobody crashes."""

    @operation([1, 2])
    async def activate(self, name: str, number: int = 0) -> None:
        """Drawn from something else."""


class TeamMachine(LifecycleMachine):
    """Of a team."""

    system_class = Team


def test_operations_of_ones_own_are_rules() -> None:
    """A machine has a rule for each operation of its own system class, and none for what is off its menu."""
    rules = rules_of(TeamMachine)
    assert rules["shout"] == ["steps", "target_", "steps_"]
    assert rules["activate"] == ["steps", "name"]
    assert "crash" not in rules
    assert "crash" in rules_of(LifecycleMachine)
    assert set(rules) - set(rules_of(LifecycleMachine)) == {"shout"}


def test_a_rule_gives_its_arguments_on() -> None:
    """What is drawn for a rule is what its operation is called with, in its order, and so many steps follow."""

    class Loud(TeamMachine):
        def teardown(self) -> None:
            heard.extend(getattr(self.system, "shouts", ()))
            super().teardown()

    heard: list[Any] = []
    run(Loud, settings(QUICK, max_examples=20))
    assert {*heard} == {("x", 7), ("y", 7)}
    with started(TeamMachine) as machine:
        turns = machine.world.turns
        machine.do("shout", "x", 7, steps=2)
        assert machine.world.turns == turns + 2
        assert [str(each) for each, _ in machine.system.clients] == ["shout#1('x', 7)"]


def test_a_rule_with_a_base_s_name_stands() -> None:
    """A rule of the machine's own, for an operation or anything else, is not replaced."""
    calls: list[str] = []

    class Own(TeamMachine):
        @rule(name=names)
        def tell(self, name: str) -> None:
            calls.append(name)

        @rule()
        def settle(self) -> None:
            calls.append("settle")

    assert rules_of(Own)["tell"] == ["name"]
    run(Own, settings(QUICK, max_examples=20))
    assert {"boss", "settle"} <= {*calls}


@pytest.mark.parametrize("name", ["settle", "request", "the_promises_are_kept", "begin"])
def test_a_rule_that_is_overridden_by_something_else_is_an_error(name: str) -> None:
    """A class that overrides a rule, an invariant or the beginning without saying so is not made: it would silently be none."""

    def override(self: LifecycleMachine) -> None:
        """Is no rule."""

    with pytest.raises(TypeError) as caught:
        type("Mine", (LifecycleMachine,), {name: override})
    assert str(caught.value) == f"Mine.{name} overrides a rule and is none: decorate it with @rule, or choose another name"


def test_an_operation_with_a_name_that_is_taken_is_an_error() -> None:
    """A machine whose system has an operation that is called like something of the machine is not made."""

    class Confusing(LifecycleSystem):
        @operation()
        async def teardown(self) -> None:
            """Not this."""

    with pytest.raises(TypeError) as caught:
        type("Mine", (LifecycleMachine,), {"system_class": Confusing})
    assert str(caught.value) == "Mine has a 'teardown' of its own: choose another name for that operation"


def test_who_is_there_comes_more_often() -> None:
    """Names are drawn with more weight for those with which something can be done now; nothing else is."""
    with started(LifecycleMachine) as machine:
        machine.world.settle()
        system = machine.system

        def drawn(attribute: str) -> Counter[object]:
            machine.one_of(attribute)
            return Counter(machine._known[attribute][-1][0])

        there = ["boss", "left", "right", "loner"]
        assert drawn("names") == {**dict.fromkeys(there, 4), **dict.fromkeys(system.spare, 1)}
        assert drawn("owners") == {**dict.fromkeys(["", *there], 4), **dict.fromkeys(system.spare, 1)}
        assert drawn("spare") == dict.fromkeys(system.spare, 4)
        assert drawn("scripts") == dict.fromkeys(system.scripts, 1)
        assert machine.one_of("names") is machine.one_of("names")
        machine.do("add", "spare", "", steps=0)
        machine.world.settle()
        assert drawn("spare") == {"spare": 1, "other": 4}


def test_it_is_not_vacuous() -> None:
    """The machine as it is passes, and everything that must happen does."""

    class Mine(LifecycleMachine):
        """As it is."""

    check_machine(Mine, settings=settings(QUICK, max_examples=60, stateful_step_count=30))


def test_what_there_is_no_operation_for_is_done() -> None:
    """What the machine adds to the system's operations is done."""
    with started(LifecycleMachine) as machine:
        machine.world.settle()
        machine.do("ask", "boss", "loner", 0, "forever", "wait", None)
        machine.world.settle()
        delivered = machine.system.promises.tally["delivered"]
        machine.ask_news(name="boss", steps=0)
        machine.world.settle()
        assert machine.system.promises.tally["delivered"] == delivered + 1
        machine.hand_over(one="left", other="right", steps=0)
        machine.world.settle()
        assert [machine.worker(name).active for name in ("left", "right")] == [False, True]
        machine.clean_up(name="loner", steps=0)
        machine.world.settle()
        assert machine.runner.get_worker("loner") is None
        assert [*machine.system.excused] == ["ask"]


def test_who_is_not_there_yet_can_be_asked() -> None:
    """A request to somebody who is added only later is no failure, and is done."""
    with started(LifecycleMachine) as machine:
        machine.do("request", "spare", 0, "return", "wait", None)
        machine.world.settle()
        machine.do("add", "spare", "")
        machine.settle()
        machine.the_promises_are_kept()
        assert machine.system.promises.tally["decided completed"] == 1


@pytest.mark.parametrize("count", [0, 1, 70])
def test_a_stream_is_read_as_far_as_asked_for(count: int) -> None:
    """A stream is asked for, and so much of it is read, whatever else the worker can do."""
    with started(LifecycleMachine) as machine:
        machine.world.settle()
        machine.stream(name="boss", count=count, script="return", timeout=None, steps=0)
        machine.world.settle()
        assert machine.system.promises.tally["job streaming"] == 1
        assert machine.system.promises.tally["decided completed"] == 1
        assert not machine.system.excused


@pytest.mark.parametrize(("how", "over"), [("", False), ("end", True), ("cancel", True)])
def test_everything_is_left_now_and_then(how: str, over: bool) -> None:
    """One rule ends or cancels everything, rarely: mostly it does nothing."""
    with started(LifecycleMachine) as machine:
        machine.world.settle()
        machine.leave(how=how, steps=0)
        machine.advance(seconds=5.0)
        assert machine.system.running.done is over


def test_a_client_may_do_anything() -> None:
    """``do`` takes any async function, and its client has the function's name."""
    log: list[int] = []

    async def write(number: int) -> None:
        log.append(number)

    with started(LifecycleMachine) as machine:
        machine.do(write, 7, steps=0)
        machine.do(partial(write, 8))
        assert [str(each) for each, _ in machine.system.clients] == ["write#1(7)", "client#2()"]
        machine.world.settle()
    assert sorted(log) == [7, 8]


# -- a machine of one's own ------------------------------------------------------------------------------------------------


def test_the_synopsis_runs() -> None:
    """What the docstring says to write is a program that passes."""
    doc = inspect.getdoc(LifecycleMachine) or ""
    block = doc.partition("::\n\n")[2].partition("\nA rule starts")[0]
    space: dict[str, Any] = {"__name__": "synopsis"}
    exec(textwrap.dedent(block), space)  # noqa: S102 - ours
    kind = space["MyTeam"]
    kind.TestCase.settings = settings(QUICK, max_examples=60, stateful_step_count=30)
    space["test_my_team"]()
    assert kind.tally["greet"] > kind.tally["excused greet"]
    assert kind.tally["accepted"] > 0
    assert kind._names == ["ann", "bob"]


def test_an_invariant_of_ones_own_is_looked_at() -> None:
    """An invariant that does not hold is told as such, with the machine's workers at hand."""

    class Watched(LifecycleMachine):
        def make_runner(self) -> WorkerRunner:
            return WorkerRunner()

        def make_worker(self, name: str) -> BaseWorker:
            return Quiet(name) if name == "spare" else super().make_worker(name)

        @invariant()
        def kinds_do_not_mix(self) -> None:
            assert not {"Quiet", "Puppet"} <= {type(worker).__name__ for worker in self.runner.workers}

    class Quiet(BaseWorker):
        """Says nothing."""

    with pytest.raises(AssertionError) as caught:
        run(Watched, LONG)
    assert not isinstance(caught.value, BrokenPromiseError)
    World().close()


def test_the_promises_are_looked_at_when_something_has_happened() -> None:
    """The promises are looked at after each step in which something happened, and not twice at the same moment."""
    looks: list[int] = []

    class Counted(LifecycleSystem):
        def check(self) -> None:
            looks.append(self.world.turns)
            super().check()

    with started(type("Mine", (LifecycleMachine,), {"system_class": Counted})) as machine:
        machine.the_promises_are_kept()
        machine.the_promises_are_kept()
        machine.do("activate", "boss", 0, steps=1)
        machine.the_promises_are_kept()
        machine.the_promises_are_kept()
        assert len(looks) == len({*looks}) == 2
        machine.world.advance(1)
        machine.the_promises_are_kept()
        assert len(looks) == 3


# -- what is found ---------------------------------------------------------------------------------------------------------


def test_a_registry_that_forgets_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: a library in which a worker that is gone stays registered does not last 300 examples, and the failure names the promise."""
    monkeypatch.setattr(WorkerRegistry, "unregister", lambda *args, **options: None)

    class Mine(LifecycleMachine):
        """As it is."""

    with pytest.raises(BrokenPromiseError, match=r"^R1: "):
        run(Mine, LONG)
    World().close()


def test_what_is_found_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is shrunk to a few rules, and told as a program."""
    monkeypatch.setattr(WorkerRegistry, "unregister", lambda *args, **options: None)

    class Mine(LifecycleMachine):
        """As it is."""

    with pytest.raises(BrokenPromiseError) as caught:
        run(Mine, settings(LONG, phases=[Phase.generate, Phase.shrink]))
    program = "\n".join(caught.value.__notes__)
    assert "state = Mine()" in program
    rules = [line for line in program.splitlines() if line.startswith("state.") and "the_promises" not in line]
    assert len(rules) <= 5


def test_what_is_left_is_found() -> None:
    """A task of a system that is left when everything has been ended is told of."""

    class Leaking(LifecycleSystem):
        def start(self) -> None:
            super().start()
            self.world.spawn(trio.sleep_forever, name="left")

    class Mine(LifecycleMachine):
        system_class = Leaking

    with pytest.raises(LeakError, match=r"^tasks are left after stop\(\): left\n"):
        run(Mine)
    World().close()


# -- after a failure -------------------------------------------------------------------------------------------------------


class OwnError(Exception):
    """Ours."""


class Sulking(Puppet):
    """Raises when it is cancelled."""

    async def run(self, params: Any, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Run, and raise."""
        try:
            await super().run(params, task_status=task_status)
        finally:
            raise LookupError("at the end")


class Failing(LifecycleMachine):
    """Fails in a rule, among workers that raise when they are cancelled."""

    async def make_runner(self) -> WorkerRunner:
        """One who sulks."""
        runner = WorkerRunner(name="runner", handle_sigint=False, handle_sigterm=False)
        await runner.add_workers(Sulking("sulking"))
        return runner

    @rule()
    def fail(self) -> None:
        """Fail, when everybody is there."""
        self.world.settle()
        raise OwnError("first")


class FailingSystem(LifecycleSystem):
    """Fails at each step, the closing of the world included."""

    def watch(self) -> None:
        """Fail."""
        raise OwnError("first")


class FailingStart(LifecycleSystem):
    """Cannot be built."""

    def start(self) -> None:
        """Fail."""
        raise OwnError("first")


class FailingStop(LifecycleSystem):
    """Cannot be taken down."""

    def stop(self) -> None:
        """Fail."""
        raise OwnError("first")


class FailingRunner(LifecycleMachine):
    """Has no runner."""

    def make_runner(self) -> WorkerRunner:
        """Fail."""
        raise OwnError("first")


class FailingWatch(LifecycleMachine):
    """See there."""

    system_class = FailingSystem


class FailingOpen(LifecycleMachine):
    """See there."""

    system_class = FailingStart


class FailingClose(LifecycleMachine):
    """See there."""

    system_class = FailingStop


@pytest.mark.parametrize("kind", [Failing, FailingRunner, FailingWatch, FailingOpen, FailingClose])
def test_the_first_failure_is_told(kind: type[LifecycleMachine]) -> None:
    """Whatever fails first is told, nothing that comes of it hides it, and the world is closed."""
    with pytest.raises(OwnError, match="first") as caught:
        run(kind)
    assert caught.value.__context__ is None
    World().close()


def test_a_failure_outside_is_none_inside() -> None:
    """A machine that runs while something else is being handled looks as closely as ever when it is over."""
    try:
        raise OwnError
    except OwnError:
        with pytest.raises(OwnError, match="first"):
            run(FailingClose)
    World().close()


def test_an_assumption_closes_the_world() -> None:
    """An example that is given up leaves no world behind, and is no failure."""

    class Assuming(LifecycleMachine):
        @rule(number=st.integers(0, 9))
        def suppose(self, number: int) -> None:
            assume(number % 2)

    run(Assuming, settings(QUICK, max_examples=30))
    World().close()


def test_a_beginning_of_ones_own_may_fail() -> None:
    """A machine that fails before its world has begun is told as it is."""

    class Early(LifecycleMachine):
        @initialize()
        def abandon(self) -> None:
            raise OwnError("first")

    with pytest.raises(OwnError, match="first"):
        run(Early, settings(QUICK, max_examples=30))
    World().close()


# -- vacuity ---------------------------------------------------------------------------------------------------------------


class Lonely(LifecycleMachine):
    """Has nobody."""

    def make_runner(self) -> WorkerRunner:
        """Nobody."""
        return WorkerRunner(handle_sigint=False, handle_sigterm=False)

    @rule()
    def add(self) -> None:
        """Nobody is ever added."""


def test_a_machine_that_does_nothing_is_vacuous() -> None:
    """A machine that passes although nothing of what must happen did is told as such, with what did happen."""
    with pytest.raises(VacuousError) as caught:
        check_machine(Lonely, settings=settings(QUICK, max_examples=80))
    assert re.match(r"Lonely passed, but these never happened: .*accepted, decided completed.*; they were \{", str(caught.value))


def test_what_must_happen_can_be_said() -> None:
    """What must happen can be said: then that, and only that."""
    check_machine(Lonely, settings=settings(QUICK, max_examples=30), must=["settle", "step"])
    with pytest.raises(VacuousError, match=r"^Lonely passed, but these never happened: miracle; they were "):
        check_machine(Lonely, settings=QUICK, must=["settle", "miracle"])


def test_a_rule_that_never_runs_is_vacuous(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a machine that has run for long, each rule must have been run; one that never could is told."""
    monkeypatch.setattr("trioworkers.testing.machine.OFTEN", 10)

    class Barred(LifecycleMachine):
        """Nothing is ever told, at any time."""

        @precondition(lambda self: False)
        @rule()
        def never(self) -> None:
            """Does not count itself, so nobody misses it."""

    barred: Any = Barred
    barred.tell = precondition(lambda self: False)(barred.tell)
    with pytest.raises(VacuousError, match=r"^Barred passed, but these never happened: .*\btell\b.*; they were"):
        check_machine(Barred, settings=settings(QUICK, max_examples=30, stateful_step_count=20))


def test_the_tally_begins_anew() -> None:
    """Each run of a machine counts for itself, and each class."""
    assert all(kind.tally is not LifecycleMachine.tally for kind in (Lonely, TeamMachine))
    Lonely.tally["settle"] = 10**6
    run(Lonely)
    assert Lonely.tally["settle"] < 10**6
