"""A Hypothesis state machine over workers: rules are plain sync code, the world is stepped in between."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache
from inspect import signature
from typing import Any, ClassVar

from hypothesis import settings as Settings  # noqa: N812 - it is a class
from hypothesis import strategies as st
from hypothesis.stateful import (
    INITIALIZE_RULE_MARKER,
    INVARIANT_MARKER,
    RULE_MARKER,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from .._decorators import collect
from ..runner import WorkerRunner
from ..worker import BaseWorker
from ._worlds import take_down
from .errors import VacuousError
from .lifecycle import LifecycleSystem, MakeRunner, Puppet, names_of, puppet_theatre
from .strategies import Pct, Pos, Strategy, Uniform
from .system import Mark, Operation
from .world import World, nothing

MUST = ("delivered", "accepted", "decided completed", "finished")
"""What must have happened in a machine's life."""

SELDOM = 10
"""So many times each rule has come, on average, before it is vacuous that nothing of that ever happened."""

OFTEN = 50
"""So many times each rule has come, on average, before it is vacuous that one never came."""

_KINDS: tuple[Callable[[int], Strategy], ...] = (Pos, Uniform, Pct)
_NAMES = ("names", "owners", "spare")
_GENERATED = "_trioworkers_generated"
_RESERVED = ("self", "steps", "target", "targets")


def _of(attribute: str) -> st.SearchStrategy[Any]:
    """One of what the system of the running machine says."""

    def choose(machine: LifecycleMachine) -> st.SearchStrategy[Any]:
        return machine.one_of(attribute)

    return st.runner().flatmap(choose)


names: st.SearchStrategy[Any] = _of("names")
owners: st.SearchStrategy[Any] = _of("owners")
spare: st.SearchStrategy[Any] = _of("spare")
scripts: st.SearchStrategy[Any] = _of("scripts")
uses: st.SearchStrategy[Any] = _of("uses")
timeouts: st.SearchStrategy[Any] = _of("timeouts")
which: st.SearchStrategy[int] = st.integers(0, 2)
steps: st.SearchStrategy[int] = st.integers(0, 12)


class LifecycleMachine(RuleBasedStateMachine):
    """Everything may be done to workers at any moment; the promises hold after every step. Subclass it for workers of your own.

    ::

        from hypothesis.stateful import invariant, rule
        from trioworkers import BaseWorker, WorkerRunner, job
        from trioworkers.testing import LifecycleSystem, operation
        from trioworkers.testing.hypothesis import LifecycleMachine, check_machine, names, steps

        class Coder(BaseWorker):
            lines = 0

            @job
            async def write(self, message):
                self.lines += 1

        class Teamwork(LifecycleSystem):
            @operation("names", range(1, 3))
            async def greet(self, name, times):
                for _ in range(times):
                    await self.worker(name).send_bus_error_message("hello")

        class MyTeam(LifecycleMachine):
            system_class = Teamwork             # each of its operations is a rule

            async def make_runner(self):
                runner = WorkerRunner()
                await runner.add_workers(Coder("ann"), Coder("bob"))
                return runner

            @rule(name=names, steps=steps)
            def sleep_a_while(self, name, steps):
                self.do("stop_worker", name, steps=steps)
                self.world.advance(1)

            @invariant()
            def nobody_forgets(self):
                assert all(worker.lines >= 0 for worker in self.runner.workers if isinstance(worker, Coder))

        def test_my_team():
            check_machine(MyTeam)

    A rule starts an operation as a client's task and lets ``steps`` steps be taken; it is done when the schedule says so. Every
    operation of ``system_class`` is such a rule, unless the class has a rule of that name. When an example is over, everything is
    ended, then cancelled, and nothing may be left.

    Raises:
        TypeError: When a subclass is made: it overrides a rule, or an invariant, without decorating it; or an operation has a name
            that is taken.
    """

    system_class: ClassVar[type[LifecycleSystem]] = LifecycleSystem
    """What is tested, and what can be done to it."""

    shutdown_timeout: ClassVar[float] = float("inf")
    """The runner's, seconds, to see that an end is no later."""

    tally: ClassVar[Counter[str]] = Counter()
    """How often what has happened."""

    _names: ClassVar[Sequence[str] | None] = None
    _known: ClassVar[dict[str, list[tuple[list[Any], st.SearchStrategy[Any]]]]] = {}

    world: World
    system: LifecycleSystem

    def __init_subclass__(cls, **options: Any) -> None:
        """A rule that is overridden without ``@rule`` would silently be one no more."""
        super().__init_subclass__(**options)
        cls.tally = Counter()
        cls._names = None
        cls._known = {}
        lost = [name for name in vars(cls) if _is_rule(_inherited(cls, name)) and not _is_rule(vars(cls)[name])]
        if lost:
            raise TypeError(f"{cls.__name__}.{lost[0]} overrides a rule and is none: decorate it with @rule, or choose another name")
        _add_rules(cls)

    # -- to override -------------------------------------------------------------------------------------------------------

    def make_runner(self) -> Any:
        """Make the runner, with its workers; sync or async. Puppets by default."""
        return puppet_theatre()

    def make_worker(self, name: str) -> BaseWorker:
        """Make a worker to be added later."""
        return Puppet(name)

    # -- a life ------------------------------------------------------------------------------------------------------------

    @initialize(seed=st.integers(0, 2**16), step_cost=st.sampled_from([0.0, 1 / 128]))
    def begin(self, seed: int, step_cost: float) -> None:
        """A world under a schedule of its own."""
        self._number = 0
        self._seen: object = None
        self._outer = sys.exc_info()[1]
        cls = type(self)
        make: MakeRunner = self.make_runner
        if cls._names is None:
            cls._names = names_of(make)
        spares = Puppet if cls.make_worker is LifecycleMachine.make_worker else self.make_worker  # of a class, it knows the jobs
        self.system = self.system_class(make, make_worker=spares, shutdown_timeout=self.shutdown_timeout, names=cls._names)
        self.world = World(seed, strategy=_KINDS[seed % len(_KINDS)](seed), step_cost=step_cost)
        self.system.open(self.world)

    def do(self, what: str | Callable[..., Awaitable[object]], *args: Any, steps: int = 0) -> None:
        """Have a client do something, and let some steps be taken.

        Args:
            what: An operation of the system; or an async function, of which the client's task has its name.
            args: Its arguments.
            steps: How many.
        """
        verb, by = (what, None) if isinstance(what, str) else (str(getattr(what, "__name__", "client")), what)
        self._number += 1
        self.tally[verb] += 1
        self.system.do(Operation(self._number, verb, args), by)
        self.world.steps(steps)

    @property
    def runner(self) -> WorkerRunner:
        """The runner."""
        return self.system.runner

    def worker(self, name: str) -> BaseWorker:
        """The worker of that name; see :meth:`LifecycleSystem.worker`."""
        return self.system.worker(name)

    def one_of(self, attribute: str) -> st.SearchStrategy[Any]:
        """One of the values that an attribute of the system holds; of names, more often one with which something can be done now."""
        values = list(getattr(self.system, attribute))
        if attribute in _NAMES:
            fine = [name for name in values if self._is_fine(attribute, name)]
            values = [*fine, *fine, *fine, *values]
        known = self._known.setdefault(attribute, [])
        strategy = next((strategy for others, strategy in known if others == values), None)
        if strategy is None:
            strategy = st.sampled_from(values)
            known.append((values, strategy))
        return strategy

    def _is_fine(self, attribute: str, name: str) -> bool:
        """Whether a worker of that name is there; or is not, if one is to be added."""
        return not name or (self.runner.get_worker(name) is None) == (attribute == "spare")

    def teardown(self) -> None:
        """End everything; nothing may be left. After a failure, only the world is closed, so that nothing hides what failed."""
        if not hasattr(self, "world"):
            return
        if sys.exc_info()[1] is not self._outer:
            self.world.after_turn = nothing
            with suppress(Exception):
                self.world.close()
            return
        try:
            with self.world:
                self._take_down()
        finally:
            self.tally.update(self.system.promises.tally)
            self.tally.update({f"excused {verb}": count for verb, count in self.system.excused.items()})

    def _take_down(self) -> None:
        try:
            take_down(self.system, self.world)
        finally:
            self.world.after_turn = nothing

    @invariant()
    def the_promises_are_kept(self) -> None:
        """L1 to R2, and nothing that was not to be expected was raised."""
        seen = self.world.turns, self.world.now, self.system.promises.tally.total()
        if seen != self._seen:
            self._seen = seen
            self.system.check()
            self.system.complain()

    # -- time --------------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40))
    def step(self, count: int) -> None:
        """Let some steps be taken."""
        self.tally["step"] += 1
        self.world.steps(count)

    @rule()
    def settle(self) -> None:
        """Go on until nothing can without time passing."""
        self.tally["settle"] += 1
        self.world.settle()
        self.system.check_rest()

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 30.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.tally["advance"] += 1
        self.world.advance(seconds)
        self.system.check_rest()

    # -- what there is no operation for ------------------------------------------------------------------------------------

    @rule(how=st.sampled_from([*("",) * 30, "end", "cancel"]), steps=steps)
    def leave(self, how: str, steps: int) -> None:
        """End everything, or cancel it; rarely, for there is nothing to see afterwards."""
        if how:
            self.do("leave", how == "cancel", steps=steps)

    @rule(one=names, other=names, steps=steps)
    def hand_over(self, one: str, other: str, steps: int) -> None:
        """Have a worker activate another one, and be inactive itself."""

        async def hand_over() -> None:
            """The task."""
            await self.worker(one).activate_worker(other, deactivate_self=True)

        self.do(hand_over, steps=steps)

    @rule(name=names, count=st.sampled_from([0, 1, 70]), script=scripts, timeout=timeouts, steps=steps)
    def stream(self, name: str, count: int, script: str, timeout: float | None, steps: int) -> None:
        """Ask a worker for a stream, and read some of it."""

        async def stream() -> None:
            """The task."""
            kind: type = type(self.worker(name))
            async with self.runner.job(name, name=_stream_of(kind), payload=self.system.payload(script), timeout=timeout) as events:
                reading = aiter(events)
                for _ in range(count):
                    await anext(reading, None)

        self.do(stream, steps=steps)

    @rule(name=names, steps=steps)
    def ask_news(self, name: str, steps: int) -> None:
        """Have a worker ask how far all that it has asked for is."""

        async def ask_news() -> None:
            """The task."""
            worker = self.worker(name)
            for job_id, group in [*worker.job_groups.items()]:
                for other in group.worker_names:
                    await worker.request_job_update(job_id, other)

        self.do(ask_news, steps=steps)

    @rule(name=names, steps=steps)
    def clean_up(self, name: str, steps: int) -> None:
        """Stop a worker, and have it release what it holds."""

        async def clean_up() -> None:
            """The task."""
            await self.worker(name).cleanup()

        self.do(clean_up, steps=steps)


def check_machine(
    machine: type[LifecycleMachine],
    *,
    settings: Settings | None = None,
    must: Sequence[str] | None = None,
) -> None:
    """Run a machine, and see that it did not pass by doing nothing.

    Args:
        machine: A subclass of :class:`LifecycleMachine`.
        settings: Hypothesis' settings.
        must: What must have happened at least once, by the names in ``machine.tally``. If left out, and if it ran long enough for
            that: ``MUST``, and each rule that is not of your own.

    Raises:
        VacuousError: Something of that never happened: the machine has passed, and proved little.
    """
    machine.tally.clear()
    run_state_machine_as_test(machine, settings=settings)
    missing = [what for what in _due(machine, must) if not machine.tally[what]]
    if missing:
        raise VacuousError(
            f"{machine.__name__} passed, but these never happened: {', '.join(missing)}; they were {dict(machine.tally)}"
        )


def _due(machine: type[LifecycleMachine], must: Sequence[str] | None) -> Sequence[str]:
    if must is not None:
        return must
    rules = [name for name in dir(machine) if name != "leave" and _is_own(getattr(machine, name), name)]
    count = sum(machine.tally[name] for name in rules) / len(rules)
    return [*(MUST if count >= SELDOM else ()), *(rules if count >= OFTEN else ())]


def _is_own(member: object, name: str) -> bool:
    """Whether it is a rule that counts itself under its name."""
    return hasattr(member, RULE_MARKER) and (hasattr(member, _GENERATED) or member is getattr(LifecycleMachine, name, None))


@cache
def _stream_of(worker: type) -> str | None:
    """The name of one of its jobs that is a stream."""
    return next((name for name, (_, mark) in collect(worker).jobs.items() if mark.streaming), None)


# -- rules -----------------------------------------------------------------------------------------------------------------


def _add_rules(machine: type[LifecycleMachine]) -> None:
    """Make a rule of every operation of its system."""
    for verb, mark in machine.system_class.marks.items():
        present = getattr(machine, verb, None)
        if present is None or hasattr(present, _GENERATED):
            setattr(machine, verb, _rule_for(machine.system_class, verb, mark) if mark.weight else None)
        elif not _is_rule(present):
            raise TypeError(f"{machine.__name__} has a {verb!r} of its own: choose another name for that operation")


def _rule_for(system: type[LifecycleSystem], verb: str, mark: Mark) -> object:
    method = getattr(system, verb)
    arguments = [f"{name}_" if name in _RESERVED else name for name in [*signature(method).parameters][1 : len(mark.choices) + 1]]

    def perform(self: LifecycleMachine, steps: int, **drawn: Any) -> None:
        self.do(verb, *(drawn[name] for name in arguments), steps=steps)

    perform.__name__, perform.__doc__ = verb, method.__doc__
    perform.__qualname__ = f"{LifecycleMachine.__name__}.{verb}"
    drawn_from: dict[str, Any] = dict(zip(arguments, map(_strategy, mark.choices), strict=True))
    decorate: Any = rule(steps=steps, **drawn_from)
    made = decorate(perform)
    setattr(made, _GENERATED, True)
    return made


def _strategy(choices: Sequence[Any] | str) -> st.SearchStrategy[Any]:
    return _of(choices) if isinstance(choices, str) else st.sampled_from(choices)


def _is_rule(member: object) -> bool:
    return any(hasattr(member, marker) for marker in (RULE_MARKER, INITIALIZE_RULE_MARKER, INVARIANT_MARKER))


def _inherited(cls: type, name: str) -> object:
    return next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)


_add_rules(LifecycleMachine)
