"""Running the tests of a suite under schedules, for the plugin for pytest: one test's exploration, the hooks, the summary."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from inspect import iscoroutinefunction
from itertools import islice
from typing import Any, final

import attrs
import pytest
import trio
from _pytest.runner import runtestprotocol

from _trioworkers_pytest import RUN, add_section

from .._leaves import leaves
from ._findings import Exploration, kind_of
from ._picture import counted
from ._pytest_runs import Options, Plan, Run
from .explore import LISTENER
from .schedule import Hold
from .shrink import shrink
from .strategies import LENGTH

Around = Generator[None, Any, Any]
SHRINK_RUNS, SHRINK_SECONDS = 60, 20.0
"""So many runs, and hardly more than so many seconds, are spent on making a schedule shorter."""
SLOWEST = 3
"""So many of the slowest tests are named."""
_TOO_LONG = "not shrunk, for it took too long"
_NOT_AGAIN = "the same schedule did not make it fail so again: something is kept between runs, or comes from outside"


# -- one test ------------------------------------------------------------------------------------------------------------


@final
@attrs.define(eq=False)
class Explored:
    """A test that is run under one schedule after another.

    Args:
        item: The test.
        options: What was asked for.
        runner: What pytest-trio is to run it by.
    """

    item: pytest.Function
    options: Options
    runner: Callable[..., Any]
    run: Run = attrs.field(init=False)
    _is_trio: bool = attrs.field(init=False)
    _refusal: str = attrs.field(init=False)
    _test: Any = attrs.field(init=False)
    _properties: Sequence[tuple[str, object]] = attrs.field(init=False)
    _runs: int = attrs.field(default=0, init=False)
    _length: int = attrs.field(default=LENGTH, init=False)
    _courses: set[int] = attrs.field(factory=set, init=False)
    _durations: dict[str, float] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        item = self.item
        self._is_trio, self._refusal, self._test = is_trio(item), refusal_of(item), item.obj
        self._properties = list(item.user_properties)
        if self._is_trio and not self._refusal:
            item.add_marker(pytest.mark.trio(run=self.runner), append=False)

    def note(self, call: pytest.CallInfo[Any], error: BaseException) -> None:
        """Something was raised in the present run."""
        self.run.raised.append((call.when, kind_of(error)))
        self.run.took_too_long |= any("pytest-timeout" in str(leaf) for leaf in leaves(error))

    # -- all of it ---------------------------------------------------------------------------------------------------------

    def reports(self) -> Sequence[pytest.TestReport]:
        """Run it as often as it takes; return what pytest says of the run that is to be shown."""
        try:
            run, told = self._outcome()
        except pytest.fail.Exception as late:  # a limit of time has struck between two runs
            return [self._report_of(late)]
        for report in run.reports:
            report.duration = self._durations[str(report.when)]
        run.reports[-1].__dict__.update(trioworkers={self.item.nodeid: told})
        return run.reports

    def _outcome(self) -> tuple[Run, dict[str, Any]]:
        """The run that is to be shown, and what the summary needs to know."""
        refusal = self._refusal
        if not refusal:
            run, figures = self._under_schedules()
            refusal = run.refusal
            if not refusal:
                return run, figures
        return self._go(self.options.plan_of(self.item), plainly=True), {"refused": refusal}

    def _under_schedules(self) -> tuple[Run, dict[str, Any]]:
        """Run it until it fails, or enough is enough."""
        for plan in islice(self.options.plans(self.item, lambda: self._length), self.options.explore):
            run = self._go(plan, detail=self.options.schedule is not None)
            self._length = max(1, run.choices)
            self._courses.update(run.courses)
            if run.raised or not (run.choices or self.options.step_cost):
                break
        run, schedules = self.run, self._runs
        if run.has_failed and run.courses and not run.refusal:
            run = self._explained(run)
        return run, self._figures(schedules)

    def _figures(self, schedules: int) -> dict[str, Any]:
        if self._courses:
            return {"schedules": schedules, "courses": len(self._courses), "seconds": sum(self._durations.values())}
        return {"refused": "pytest-trio has run it by other means"} if self._is_trio and not self.run.raised else {}

    def _report_of(self, error: BaseException) -> pytest.TestReport:
        def fail() -> None:
            raise error

        call = pytest.CallInfo.from_call(fail, "call")
        report: pytest.TestReport = self.item.ihook.pytest_runtest_makereport(item=self.item, call=call)
        return report

    # -- one run -----------------------------------------------------------------------------------------------------------

    def _go(self, plan: Plan, *, detail: bool = True, plainly: bool = False) -> Run:
        """Run it once; what is around it stays as it is."""
        self._renew()
        self._runs += 1
        run = self.run = self.item.stash[RUN] = Run(plan, detail, plainly)
        around: Any = self.item.parent  # as if the next item were from the same place
        run.reports = runtestprotocol(self.item, log=False, nextitem=around)
        for report in run.reports:
            self._durations[str(report.when)] = self._durations.get(str(report.when), 0.0) + report.duration
        return run

    def _renew(self) -> None:
        """Forget the run before."""
        item = self.item
        item._report_sections.clear()  # noqa: SLF001 - or the output of all runs would be shown
        item.user_properties[:] = self._properties
        item.obj = self._test
        if item.instance is not None:  # each run has one of its own
            vars(item).pop("_instance", None)
            item.obj = getattr(item.instance, item.originalname)

    # -- telling of a failure ----------------------------------------------------------------------------------------------

    def _explained(self, run: Run) -> Run:
        """Make the schedule shorter, and tell of it."""
        before = len(run.simulation.schedule.holds)
        holds = counted(before, "hold") if before else "nobody is held"
        if self.options.schedule is not None:
            return self._told(run, f"replayed, {holds}")
        head = f"found by schedule {self._runs} ({run.plan.kind}), {holds}"
        if self.item.config.getoption("usepdb", default=False):
            return self._told(run, head)
        again = Again(self._go, run, run.took_too_long)
        shrunk = None if is_drawn(self.item) else again.shrunk()
        if shrunk is not None:
            after = f"; shrunk to {len(shrunk.simulation.schedule.holds)} in {counted(again.runs, 'run')}" if before else ""
            return self._told(shrunk, head + after)
        same = again.same(run.plan.again())
        if same is not None:
            return self._told(same, head, self.options.again(self.item))
        return self._told(run, f"{head}; {_TOO_LONG if again.is_late else _NOT_AGAIN}", self.options.again(self.item))

    def _told(self, run: Run, head: str, again: str = "") -> Run:
        add_section(next(report for report in run.reports if report.failed), run.tale(self.item, f"{head}:", again))
        return run


@final
@attrs.define(eq=False)
class Again:
    """Runs a test again that has failed.

    Args:
        go: Runs it once.
        found: The run that failed.
        is_late: Whether it must not be run again, for it takes too long.
    """

    go: Callable[[Plan], Run]
    found: Run
    is_late: bool
    runs: int = attrs.field(default=0, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)

    def shrunk(self) -> Run | None:
        """A run that fails in the same way, by a schedule that is shorter if possible; ``None`` if the schedule does not decide."""
        schedule = self.found.simulation.schedule
        for base in dict.fromkeys((attrs.evolve(schedule, step_cost=0.0), schedule)):
            run = self.same(Plan("shrunk", {"schedule": base}))
            if run is not None:
                return self._shorter(run)
        return None

    def _shorter(self, best: Run) -> Run:
        schedule = best.simulation.schedule

        def fails(holds: Iterable[Hold]) -> tuple[Hold, ...] | None:
            nonlocal best
            run = self.same(Plan("shrunk", {"schedule": attrs.evolve(schedule, holds=tuple(holds))}))
            best = run or best
            return None if run is None else run.simulation.schedule.holds

        shrink(schedule.holds, fails)
        return best

    def same(self, plan: Plan) -> Run | None:
        """Run it, if that is still worth while; return the run if it failed as the first one."""
        if self.is_late or self.runs >= SHRINK_RUNS or self._seconds >= SHRINK_SECONDS:
            return None
        self.runs += 1
        try:
            run = self.go(plan)
        except pytest.fail.Exception:  # a limit of time has struck between two phases
            self.is_late = True
            return None
        self._seconds += sum(report.duration for report in run.reports)
        self.is_late = run.took_too_long
        return run if run.has_failed and run.raised[0] == self.found.raised[0] and not self.is_late else None


# -- what a test is ------------------------------------------------------------------------------------------------------


def is_trio(item: pytest.Item) -> bool:
    """Whether pytest-trio is going to run it."""
    plugin = sys.modules.get("pytest_trio.plugin")
    if plugin is None or not item.config.pluginmanager.is_registered(plugin) or item.get_closest_marker("trio") is None:
        return False
    test = getattr(item, "obj", None)
    return iscoroutinefunction(getattr(getattr(test, "hypothesis", None), "inner_test", test))


def is_drawn(item: pytest.Function) -> bool:
    """Whether Hypothesis chooses what happens, too: under another schedule it chooses otherwise."""
    return hasattr(item.obj, "hypothesis")


def refusal_of(item: pytest.Function) -> str:
    """Why a test is not run under schedules; empty if it is."""
    if item.get_closest_marker("tw_plain") is not None:
        return "marked tw_plain"
    if "subtests" in item.fixturenames:
        return "its subtests are reported one by one"
    return "it has a runner of its own" if is_trio(item) and _runner_of(item) is not trio.run else ""


def _runner_of(item: pytest.Item) -> object:
    """What pytest-trio would run it by."""
    given = (marker.kwargs.get("run") for marker in item.iter_markers("trio"))
    by_default = trio.run if item.config.getini("trio_run") == "trio" else None
    return next((run for run in given if run is not None), by_default)


# -- all tests -----------------------------------------------------------------------------------------------------------


@final
class Session:
    """The hooks. It is there if an option asks for it.

    Args:
        config: That of this run of pytest.

    Raises:
        pytest.UsageError: The options do not go together, or the token is none.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._options = Options.of(config)
        self._explored: Explored | None = None
        self._is_closing = False
        self._runner = pytest.MonkeyPatch()
        self._heard: list[Exploration] = []
        self._told: dict[str, dict[str, Any]] = {}

    # -- running -----------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a test under schedules, if it can be."""
        if not isinstance(item, pytest.Function) or not self._is_for(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        self._explored = Explored(item, self._options, self._trio_run)
        self._log(item, self._explored.reports())
        self._explored = None
        self._log(item, [report for report in self._close(item, nextitem) if report.failed])
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _is_for(self, item: pytest.Function) -> bool:
        if not self._options.is_asking or item.config.getoption("setuponly", default=False):
            return False
        return is_trio(item) or not {"world", "simulated"}.isdisjoint(item.fixturenames)

    @staticmethod
    def _log(item: pytest.Item, reports: Iterable[pytest.TestReport]) -> None:
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)

    def _close(self, item: pytest.Item, nextitem: pytest.Item | None) -> Sequence[pytest.TestReport]:
        """Tear down what the next test does not need, as after any test, but without running this one once more."""
        self._is_closing = True
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        self._is_closing = False
        return reports

    def _trio_run(self, main: Callable[[], Awaitable[Any]], **options: Any) -> Any:
        """What pytest-trio runs tests by."""
        __tracebackhide__ = True
        assert self._explored is not None  # noqa: S101 - pytest-trio is given this for as long as there is one
        return self._explored.run.trio_run(main, **options)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Nothing is set up if it is only to be torn down."""
        if self._is_closing:
            pytest.skip("only torn down")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Around:
        """Hear of explorations; and be the runner that pytest-trio finds, also for a test of Hypothesis', where it asks no marker."""
        __tracebackhide__ = True
        self._heard = []
        token = LISTENER.set(self._heard.append)
        handle = getattr(getattr(item, "obj", None), "hypothesis", None)
        with pytest.MonkeyPatch.context() as restored:
            if handle is not None:  # pytest-trio changes it for ever, and all tests of a function share it
                restored.setattr(handle, "inner_test", handle.inner_test)
            if self._explored is not None:
                self._runner.setattr(trio, "run", self._trio_run)
            try:
                return (yield)
            finally:
                self._runner.undo()
                LISTENER.reset(token)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pyfunc_call(self) -> Around:
        """By now it has been found."""
        __tracebackhide__ = True
        self._runner.undo()
        return (yield)

    # -- telling -----------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> Around:
        """Note what was raised; and tell of explorations."""
        report = yield
        if self._explored is not None and call.excinfo is not None:
            self._explored.note(call, call.excinfo.value)
        if self._heard:
            heard, self._heard = self._heard, []
            told = {
                "explorations": len(heard),
                **{name: sum(getattr(each, name) for each in heard) for name in ("examples", "distinct")},
            }
            report.__dict__.update(trioworkers={item.nodeid: told})
            failures = [each.failure for each in heard if each.failure is not None]
            if report.failed and failures:
                add_section(report, failures[-1].report())
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add it up; with pytest-xdist, it comes from another process."""
        for nodeid, told in getattr(report, "trioworkers", {}).items():
            self._told.setdefault(nodeid, {}).update(told)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was run under how many schedules, and what could not be."""
        lines = list(summary(self._told))
        if lines or self._options.is_asking:
            terminalreporter.section("schedules")
            for line in lines or ["no test was run under schedules"]:
                terminalreporter.line(line)


def summary(told: dict[str, dict[str, Any]]) -> Iterable[str]:
    """What the tests have told, in lines."""
    explored = {nodeid: each for nodeid, each in told.items() if "schedules" in each}
    if explored:
        schedules, courses = (sum(each[name] for each in explored.values()) for name in ("schedules", "courses"))
        yield f"{counted(len(explored), 'test')}, {counted(schedules, 'schedule')}, {counted(courses, 'distinct course')}"
        slowest = sorted(explored.items(), key=lambda each: each[1]["seconds"], reverse=True)
        yield from (
            f"  {each['seconds']:.2f} s, {counted(each['schedules'], 'schedule')}: {nodeid}" for nodeid, each in slowest[:SLOWEST]
        )
    heard = [each for each in told.values() if "explorations" in each]
    if heard:
        explorations, examples, distinct = (sum(each[name] for each in heard) for name in ("explorations", "examples", "distinct"))
        yield f"{counted(explorations, 'exploration')} by @explore: {counted(examples, 'schedule')}, {distinct} distinct"
    yield from (f"not simulated: {nodeid}: {each['refused']}" for nodeid, each in told.items() if "refused" in each)
