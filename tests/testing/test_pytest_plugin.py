"""The plugin for pytest: suites that know nothing of it, under many schedules."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import get_args

import pytest

import _trioworkers_pytest
from trioworkers.testing import Hold, Schedule, _pytest_runs, _pytest_session
from trioworkers.testing.schedule import Granularity
from trioworkers.testing.strategies import Name

pytest_plugins = ["pytester"]

INI = """
[pytest]
trio_mode = {trio_mode}
filterwarnings = error
addopts = --strict-markers -p no:cacheprovider
"""
RACE = """
import pytest, trio

async def consumer(box):
    if not box.full:
        await trio.lowlevel.checkpoint()
        box.bell = trio.Event()
        await box.bell.wait()

async def producer(box):
    for _ in range(3):  # in trio's own order, which goes in rounds, the consumer has a bell by then
        await trio.lowlevel.checkpoint()
    box.full = True
    if box.bell is not None:
        box.bell.set()

class Box:
    full = False
    bell = None

async def both(box):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consumer, box)
        nursery.start_soon(producer, box)
"""
ONE_RACE = f"{RACE}\nasync def test_it(autojump_clock):\n    await both(Box())\n"
HELD = "consumer is held at consumer (test_it.py:5) while producer runs"
ORDER = """
import pytest, trio

async def in_order(*names):
    seen = []

    async def note(name):
        seen.append(name)

    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(note, name, name=name)
    return "".join(seen)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A place for a suite, in which pytest-trio runs async tests."""
    pytester.makeini(INI.format(trio_mode="true"))
    return pytester


def run(suite: pytest.Pytester, text: str, *options: str, **counts: int) -> str:
    """Run a suite of one module, expect so many outcomes, return what is printed."""
    suite.makepyfile(test_it=text)
    result = suite.runpytest_inprocess(*options)
    result.assert_outcomes(**counts)
    return str(result.stdout)


def tokens(text: str) -> Sequence[str]:
    """The tokens in what was printed."""
    return re.findall(r"--tw-replay=(\S+)", text)


def lines(text: str, start: str) -> Sequence[str]:
    """The lines that begin so."""
    return [line.strip() for line in text.splitlines() if line.strip().startswith(start)]


# -- without an option ---------------------------------------------------------------------------------------------------


def test_without_an_option_nothing_is_changed(suite: pytest.Pytester) -> None:
    """A suite that is run without an option is run as ever, by trio itself, and not a word is said."""
    printed = run(
        suite,
        """
        import trio

        async def test_it(request):
            assert request.config.pluginmanager.get_plugin("trioworkers-session") is None
            await trio.to_thread.run_sync(int)
        """,
        passed=1,
    )
    assert "schedule" not in printed


@pytest.fixture
def alone(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A place for a suite, in which pytest loads no plugin that is not named."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def test_the_plugin_by_itself_is_light(alone: pytest.Pytester) -> None:
    """A run of pytest without an option imports nothing of this package but the plugin, nor anything else for its sake."""
    alone.makepyfile("""
        import sys

        def test_it(request):
            assert request.config.pluginmanager.get_plugin("trioworkers") is sys.modules["_trioworkers_pytest"]
            assert {"trioworkers", "trio", "attr", "hypothesis"}.isdisjoint(sys.modules)
        """)
    alone.runpytest_subprocess("-p", "trioworkers").assert_outcomes(passed=1)


def test_the_plugin_has_a_name_of_the_package(alone: pytest.Pytester) -> None:
    """Where plugins are not loaded by themselves, ``-p trioworkers.testing.pytest_plugin`` loads this one."""
    alone.makepyfile("""
        from trioworkers.testing import World

        def test_it(world):
            assert isinstance(world, World)
        """)
    alone.runpytest_inprocess("-p", "trioworkers.testing.pytest_plugin", "--tw-seed=1").assert_outcomes(passed=1)


def test_the_options_know_what_there_is() -> None:
    """The plugin's choices, which it knows without an import, are all there are."""
    assert get_args(Name) == _trioworkers_pytest.STRATEGIES
    assert get_args(Granularity) == _trioworkers_pytest.GRANULARITIES


# -- a race --------------------------------------------------------------------------------------------------------------


def test_a_race_is_found_and_told(suite: pytest.Pytester) -> None:
    """A race that trio's own order never shows is found, shrunk, and told in one line; the test fails once."""
    run(suite, ONE_RACE, passed=1)
    printed = run(suite, ONE_RACE, "--tw-explore=100", failed=1)
    assert [line.split(maxsplit=1)[1] for line in lines(printed, "t=0.000 ")] == [HELD]
    assert printed.count("- schedule -") == 1
    assert re.search(r"^found by schedule \d+ \(\w+\), \d+ holds?; shrunk to 1 in \d+ runs:$", printed, re.MULTILINE)
    assert re.search(r"^1 test, \d+ schedules, \d+ distinct courses$", printed, re.MULTILINE)
    assert re.search(r"^  \d\.\d\d s, \d+ schedules: test_it.py::test_it$", printed, re.MULTILINE)


def test_a_deadlock_is_told_by_its_tasks(suite: pytest.Pytester) -> None:
    """Of a deadlock, the section shows who waits where: the test, its fixtures, and the program's own tasks."""
    printed = run(suite, ONE_RACE, "--tw-explore=100", failed=1)
    section = printed[printed.index("- schedule -") :]
    assert lines(section, "'pytest-trio' can never end:")
    assert lines(section, "test 'test_it' @ both (test_it.py:21) < test_it (test_it.py:26)")
    assert lines(section, "consumer @ consumer (test_it.py:7)")


def test_a_schedule_is_run_again_by_its_token(suite: pytest.Pytester) -> None:
    """The line that a failure prints runs the test under just that schedule, and it fails in the same way."""
    (token,) = tokens(run(suite, ONE_RACE, "--tw-explore=100", failed=1))
    assert Schedule.from_token(token).holds == (Hold("consumer", 1, "producer"),)
    printed = run(suite, ONE_RACE, f"--tw-replay={token}", failed=1)
    assert lines(printed, "replayed") == ["replayed, 1 hold:"]
    assert tokens(printed) == [token]
    assert lines(printed, "t=0.000 ")[0].endswith(HELD)
    assert "1 test, 1 schedule, 1 distinct course" in printed
    run(suite, ONE_RACE, f"--tw-replay={Schedule().to_token()}", passed=1)


def test_the_line_goes_with_where_one_is(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line can be pasted where pytest was called, and into a shell: paths are from there, odd names are quoted."""
    below = suite.mkdir("below")
    test = 'import pytest\n\n@pytest.mark.parametrize("way", ["a b"])\nasync def test_it(way):\n    assert not way\n'
    (below / "test_there.py").write_text(test, encoding="utf-8")
    monkeypatch.chdir(below)
    printed = str(suite.runpytest_inprocess("--tw-explore=1").stdout)
    assert lines(printed, "replay: pytest 'test_there.py::test_it[a b]' --tw-replay=")


def test_the_first_schedule_is_the_plain_one(suite: pytest.Pytester) -> None:
    """A test that fails anyway fails under the first schedule, in which nobody is held."""
    printed = run(suite, "async def test_it():\n    assert not 1\n", "--tw-explore=9", failed=1)
    assert lines(printed, "found by") == ["found by schedule 1 (plain), nobody is held:"]
    (token,) = tokens(printed)
    assert Schedule.from_token(token).holds == ()


# -- all that pytest-trio can do -----------------------------------------------------------------------------------------

ALL_KINDS = """
import collections, pytest, pytest_trio, trio
from hypothesis import given, settings, strategies as st

runs = collections.Counter()

async def twice(name):
    runs[name] += 1
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(trio.sleep, 1)

@pytest_trio.trio_fixture
async def number():
    await trio.sleep(1)
    yield 7
    await trio.sleep(1)

@pytest_trio.trio_fixture
async def more(number, nursery):
    nursery.start_soon(trio.sleep, 1)
    return number + 1

@pytest.mark.trio
async def test_fixtures(number, more):
    assert (number, more) == (7, 8)
    await twice("fixtures")

@pytest.mark.trio
async def test_nursery(nursery, autojump_clock):
    nursery.start_soon(twice, "nursery")
    await trio.sleep(2)
    assert trio.current_time() == 2

@pytest.mark.trio
async def test_clock(mock_clock, nursery):
    nursery.start_soon(trio.sleep, 5)
    await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == 0
    mock_clock.jump(5)
    await twice("clock")
    assert trio.current_time() == 6

@pytest.mark.trio
@pytest.mark.parametrize("way", ["left", "right"])
async def test_ways(way):
    await twice(way)

class TestClass:
    seen = 0

    @pytest.mark.trio
    async def test_method(self):
        self.seen += 1
        assert self.seen == 1
        await twice("method")

    @pytest.mark.trio
    @settings(max_examples=2, database=None)
    @given(st.booleans())
    async def test_drawn_method(self, value):
        await twice(f"drawn method {value}")

@pytest.mark.trio
@pytest.mark.parametrize("way", ["up", "down"])
@settings(max_examples=2, database=None)
@given(value=st.booleans())
async def test_drawn(way, value):
    await twice(f"drawn {way} {value}")

def test_plain():
    runs["plain"] += 1

def test_all():
    names = ["fixtures", "nursery", "clock", "left", "right", "method", "drawn method True", "drawn method False",
             "drawn up True", "drawn up False", "drawn down True", "drawn down False"]
    assert runs == {"plain": 1, **dict.fromkeys(names, 3)}
"""
MODE = re.sub(r"^ *@pytest.mark.trio\n", "", ALL_KINDS, flags=re.MULTILINE).replace("@pytest_trio.trio_fixture", "@pytest.fixture")


@pytest.mark.parametrize(("trio_mode", "text"), [("true", MODE), ("false", ALL_KINDS)])
def test_every_kind_of_test_is_run_so_often(pytester: pytest.Pytester, trio_mode: str, text: str) -> None:
    """Each test that pytest-trio runs is run under so many schedules, whatever it is made of; other tests are run once."""
    pytester.makeini(INI.format(trio_mode=trio_mode))
    assert lines(run(pytester, text, "--tw-explore=3", passed=11), "9 tests, 27 schedules, ")


def test_drawn_tests_of_one_function_do_not_disturb_each_other(suite: pytest.Pytester) -> None:
    """Of the tests that are made of one function of Hypothesis', one may be run plainly, and the others are explored all the same."""
    test = f"""{ORDER}
from hypothesis import given, settings, strategies as st

@pytest.mark.parametrize("way", ["down", pytest.param("up", marks=pytest.mark.tw_plain), "left"])
@settings(max_examples=2, database=None)
@given(value=st.booleans())
async def test_it(way, value):
    await in_order("a", "b")
"""
    printed = run(suite, test, "--tw-explore=3", passed=3)
    assert lines(printed, "2 tests, 6 schedules")
    assert lines(printed, "not simulated:") == ["not simulated: test_it.py::test_it[up]: marked tw_plain"]


def test_one_thing_has_one_order(suite: pytest.Pytester) -> None:
    """A test in which there is never anything to choose is run once, for all its schedules are the same."""
    test = "import trio\n\nasync def test_it(autojump_clock):\n    await trio.sleep(1)\n"
    assert "1 test, 1 schedule, 1 distinct course" in run(suite, test, "--tw-explore=100", passed=1)


def test_instruments_are_handed_on(suite: pytest.Pytester) -> None:
    """An instrument among a test's fixtures hears of the simulated run."""
    test = """
    import pytest, trio

    class Count(trio.abc.Instrument):
        tasks = 0

        def task_spawned(self, task):
            self.tasks += 1

    @pytest.fixture
    def count():
        return Count()

    async def test_it(count, nursery):
        before = count.tasks
        nursery.start_soon(trio.sleep, 1)
        assert (before > 0, count.tasks) == (True, before + 1)
    """
    run(suite, test, "--tw-explore=2", passed=1)


# -- what is around a test -----------------------------------------------------------------------------------------------

SCOPES = """
import pytest, trio

log = []

def scoped(scope):
    @pytest.fixture(scope=scope)
    def fixture():
        log.append(f"{scope} begins")
        yield
        log.append(f"{scope} ends")
    return fixture

in_function, in_class, in_module = map(scoped, ["function", "class", "module"])

@pytest.mark.usefixtures("in_module", "in_class", "in_function")
class TestIt:
    async def test_it(self, nursery):
        nursery.start_soon(trio.lowlevel.checkpoint)
        log.append("test")

    def test_other(self):
        log.append("other")
"""
SCOPES_LOG = """
import test_it

def test_log():
    assert test_it.log == [
        "module begins", "class begins",
        *2 * ["function begins", "test", "function ends"],
        "function begins", "other", "function ends",
        "class ends", "module ends",
    ]
"""


def test_fixtures_are_set_up_anew(suite: pytest.Pytester) -> None:
    """Each run has fixtures of its own; those of the class, the module and the session live on, and end when they always do."""
    suite.makepyfile(test_next=SCOPES_LOG)
    run(suite, SCOPES, "--tw-explore=2", passed=3)


def test_what_is_around_the_last_test_is_torn_down(suite: pytest.Pytester) -> None:
    """After the last test of a module its fixtures are torn down once; what they raise is an error of that test, as ever."""
    test = """
    import pytest, trio

    @pytest.fixture(scope="module")
    def broken():
        yield
        print("torn down")
        raise ValueError("broken")

    async def test_it(broken, nursery):
        nursery.start_soon(trio.lowlevel.checkpoint)
    """
    suite.makepyfile(test_next="def test_next():\n    pass\n")
    printed = run(suite, test, "--tw-explore=3", passed=2, errors=1)
    assert printed.count("ERROR at teardown of test_it") == printed.count("Captured stdout teardown") == 1
    assert "1 test, 3 schedules" in printed


@pytest.mark.parametrize("options", [["-x"], []])
def test_the_session_may_stop(suite: pytest.Pytester, options: Sequence[str]) -> None:
    """With ``-x``, a failing test is the last one, and all is torn down in order."""
    text = f"{ONE_RACE}\n@pytest.fixture(scope='module', autouse=True)\ndef around():\n    yield\n    print('torn down')\n"
    printed = run(suite, f"{text}\ndef test_next():\n    pass\n", "--tw-explore=100", "-s", *options, failed=1, passed=not options)
    assert printed.count("torn down") == 1


def test_only_the_run_that_is_told_is_shown(suite: pytest.Pytester) -> None:
    """Of all runs of a test, the output and the properties of one are shown; the time it took is that of all."""
    text = ONE_RACE.replace("await both", "record_property('a', 1)\n    print('said')\n    await both").replace(
        "clock)", "clock, record_property)"
    )
    suite.makeconftest(
        """
        def pytest_collection_modifyitems(items):
            items[0].user_properties.append(("before", 0))

        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                print(report.user_properties)
                assert report.trioworkers["test_it.py::test_it"]["seconds"] > report.duration > 0
        """
    )
    printed = run(suite, text, "--tw-explore=100", failed=1)
    assert printed.count("said") == 1
    assert "[('before', 0), ('a', 1)]" in printed


def test_what_is_told_can_be_sent(suite: pytest.Pytester) -> None:
    """What the summary needs goes with the reports, as plain values: so it comes from other processes, too."""
    suite.makeconftest(
        """
        import json

        def pytest_runtest_logreport(report):
            json.dumps(report.trioworkers if report.when == "teardown" else {})
        """
    )
    run(suite, ONE_RACE, "--tw-explore=2", passed=1)


# -- outcomes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ("pytest.skip('no')", {"skipped": 1}),
        ("pytest.xfail('no')", {"xfailed": 1}),
        ("assert 0", {"failed": 1}),
        ("pytest.fail('no')", {"failed": 1}),
        ("request.getfixturevalue('nothing')", {"failed": 1}),
    ],
)
def test_a_test_has_the_outcome_it_always_has(suite: pytest.Pytester, body: str, counts: dict[str, int]) -> None:
    """A test that skips, fails or is expected to fail does so once."""
    test = f"import pytest\n\nasync def test_it(request):\n    {body}\n"
    printed = run(suite, test, "--tw-explore=3", **counts)
    assert ("- schedule -" in printed) == ("failed" in counts)


def test_a_test_may_be_skipped_before_it_begins(suite: pytest.Pytester) -> None:
    """A test that is not even begun is neither explored nor told of."""
    test = "import pytest\n\n@pytest.mark.skip\nasync def test_it():\n    pass\n"
    assert "no test was run under schedules" in run(suite, test, "--tw-explore=3", skipped=1)


@pytest.mark.parametrize(("strict", "counts"), [(False, {"xpassed": 1}), (True, {"failed": 1})])
def test_a_test_may_be_expected_to_fail(suite: pytest.Pytester, strict: bool, counts: dict[str, int]) -> None:
    """A test that is expected to fail has to do so under one schedule; if it passes under all, that is told as ever."""
    mark = f"\n@pytest.mark.xfail(strict={strict})\nasync"
    run(suite, ONE_RACE.replace("\nasync def test_it", f"{mark} def test_it"), "--tw-explore=100", xfailed=1)
    printed = run(suite, ONE_RACE.replace("\nasync def test_it", f"{mark} def test_it"), "--tw-explore=2", **counts)
    assert "- schedule -" not in printed
    assert "1 test, 2 schedules" in printed


def test_a_fixture_may_fail(suite: pytest.Pytester) -> None:
    """A sync fixture that fails is an error, once; nothing is told of schedules, for there was none."""
    test = "import pytest\n\n@pytest.fixture\ndef bad():\n    raise ValueError\n\nasync def test_it(bad):\n    pass\n"
    printed = run(suite, test, "--tw-explore=3", errors=1)
    assert "- schedule -" not in printed


def test_a_fixture_may_fail_afterwards(suite: pytest.Pytester) -> None:
    """What a sync fixture finds afterwards is an error that a schedule has made: it is shrunk, told and replayed as any."""
    test = f"""{ORDER}
@pytest.fixture
def checked():
    orders = []
    yield orders
    assert orders == ["ab"]

async def test_it(checked):
    checked.append(await in_order("a", "b"))
"""
    printed = run(suite, test, "--tw-explore=30", passed=1, errors=1)
    assert lines(printed, "t=0.000 ") == ["t=0.000  a is held before its first step while b runs"]
    assert lines(run(suite, test, f"--tw-replay={tokens(printed)[0]}", passed=1, errors=1), "replayed, 1 hold:")


def test_a_report_that_cannot_be_added_to_has_a_section(suite: pytest.Pytester) -> None:
    """Where pytest's own text has no room for it, what is told follows it."""
    test = "import trio\n\ndef test_it(simulated, request):\n    simulated(trio.sleep, 1)\n    request.getfixturevalue('nothing')\n"
    printed = run(suite, test, failed=1)
    assert printed.count("- schedule -") == len(tokens(printed)) == 1


# -- shrinking -----------------------------------------------------------------------------------------------------------


def test_shrinking_is_bounded(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule is shrunk in so many runs at most; what is told is the shortest so far."""
    monkeypatch.setattr(_pytest_session, "SHRINK_RUNS", 3)
    test = f"{ORDER}\nasync def test_it():\n    assert (await in_order(*'abcdefghij')).startswith('a')\n"
    printed = run(suite, test, "--tw-explore=9", "--tw-strategy=uniform", failed=1)
    assert lines(printed, "found by")[0].endswith("in 3 runs:")


def test_shrinking_takes_little_time(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that takes its time is not run for ever: shrinking ends when it has taken too long."""
    monkeypatch.setattr(_pytest_session, "SHRINK_SECONDS", 1e-9)
    test = f"{ORDER}\nasync def test_it():\n    assert (await in_order(*'abcdefghij')).startswith('a')\n"
    printed = run(suite, test, "--tw-explore=9", "--tw-strategy=uniform", failed=1)
    assert lines(printed, "found by")[0].endswith("in 1 run:")


def test_what_is_kept_between_runs_is_told(suite: pytest.Pytester) -> None:
    """A test that fails once and then never again is told as it was found, with what it takes to look again."""
    test = f"{ORDER}\nseen = []\n\nasync def test_it():\n    seen.append(await in_order('a', 'b'))\n    assert len(seen) != 2\n"
    printed = run(suite, test, "--tw-explore=3", "--tw-seed=5", failed=1)
    (found,) = lines(printed, "found by schedule 2")
    assert found.endswith("; the same schedule did not make it fail so again: something is kept between runs, or comes from outside:")
    assert lines(printed, "replay:") == ["replay: pytest test_it.py::test_it --tw-explore=3 --tw-seed=5"]


def test_only_the_same_failure_counts(suite: pytest.Pytester) -> None:
    """A shorter schedule that makes the test fail otherwise is not taken."""
    test = f"""{ORDER}
async def test_it():
    order = await in_order("a", "b", "c")
    assert order != "cba"
    if order != "abc":
        raise ValueError(order)
"""
    (token,) = tokens(run(suite, test, "--tw-explore=200", "--tw-strategy=uniform", "--tw-seed=1", failed=1))
    replayed = run(suite, test, f"--tw-replay={token}", failed=1)
    found = run(suite, test, "--tw-explore=200", "--tw-strategy=uniform", "--tw-seed=1", failed=1)
    assert lines(found, "FAILED") == lines(replayed, "FAILED")


@pytest.mark.parametrize("limit", ["in it", "between"])
def test_a_test_that_took_too_long_is_not_run_again(suite: pytest.Pytester, limit: str) -> None:
    """When a limit of time has struck, the test is not run again, and the next one is run as ever."""
    body = "pytest.fail('Timeout (>1.0s) from pytest-timeout.')" if limit == "in it" else "assert 0"
    test = f"""{ORDER}
async def test_it():
    if await in_order("a", "b") == "ba":
        {body}
"""
    suite.makepyfile(test_next="def test_next():\n    pass\n")
    suite.makeconftest(
        f"""
        import pytest

        failures = []

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(call):
            failures.extend([call.excinfo] if call.excinfo else [])
            if len(failures) == 2 and {limit == "between"}:
                pytest.fail("Timeout (>1.0s) from pytest-timeout.")
            return (yield)
        """
    )
    printed = run(suite, test, "--tw-explore=9", "--tw-seed=5", failed=1, passed=1)
    (found,) = lines(printed, "found by schedule")
    assert found.endswith(", 1 hold; not shrunk, for it took too long:")
    assert lines(printed, "replay:") == ["replay: pytest test_it.py::test_it --tw-explore=9 --tw-seed=5"]


def test_a_limit_of_time_between_two_runs_fails_the_test(suite: pytest.Pytester) -> None:
    """A limit of time that strikes while a test has not failed yet fails this test, and the next one is run as ever."""
    test = f"{ORDER}\nasync def test_it():\n    await in_order('a', 'b')\n\ndef test_next():\n    pass\n"
    suite.makeconftest(
        """
        import pytest

        calls = []

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(call):
            calls.append(call)
            if len(calls) == 5:
                pytest.fail("Timeout (>1.0s) from pytest-timeout.")
            return (yield)
        """
    )
    printed = run(suite, test, "--tw-explore=9", failed=1, passed=1)
    assert "Failed: Timeout (>1.0s) from pytest-timeout." in printed


def test_a_debugger_sees_the_failure_once(suite: pytest.Pytester) -> None:
    """With ``--pdb``, the test is left as it is when it fails: nothing is shrunk."""
    suite.makeconftest(
        """
        import pytest

        @pytest.hookimpl(trylast=True)
        def pytest_configure(config):
            config.option.usepdb = True

        def pytest_exception_interact(node):
            print("a look at", node.name)
        """
    )
    printed = run(suite, ONE_RACE, "--tw-explore=100", "-s", failed=1)
    assert printed.count("a look at test_it") == 1
    assert re.search(r"^found by schedule \d+ \(\w+\), \d+ holds?:$", printed, re.MULTILINE)
    assert len(tokens(printed)) == 1


def test_a_drawn_test_is_told_with_its_example(suite: pytest.Pytester) -> None:
    """In a test of Hypothesis', the example is shrunk, the schedule is not; the line looks at the same schedules again."""
    test = f"""{RACE}
from hypothesis import Phase, given, settings, strategies as st

@settings(database=None, derandomize=True, max_examples=10, phases=[Phase.generate, Phase.shrink])
@given(number=st.integers(0, 9))
async def test_it(number):
    if number > 2:
        await both(Box())
"""
    suite.makeconftest("import sys\n\nsys.modules['hypothesis.extra._patching'] = None  # it takes seconds to write a patch\n")
    printed = run(suite, test, "--tw-explore=100", "--tw-strategy=pct", "--tw-seed=1", failed=1)
    assert "number=3," in printed
    assert re.search(r"^found by schedule \d+ \(pct\), \d+ holds?:$", printed, re.MULTILINE)
    (line,) = lines(printed, "replay:")
    assert line == "replay: pytest test_it.py::test_it --tw-explore=100 --tw-strategy=pct --tw-seed=1"
    again = run(suite, test, *line.split()[3:], failed=1)
    assert lines(again, "found by") == lines(printed, "found by")


# -- what cannot be simulated --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("@pytest.mark.tw_plain\nasync def test_it():\n    await trio.to_thread.run_sync(int)", "marked tw_plain"),
        ("async def test_it():\n    await trio.to_thread.run_sync(int)", ".*trio.to_thread.run_sync.*"),
        ("async def test_it(nursery):\n    await received(nursery)", ".* waits for a socket.*"),
        ("async def test_it(fast_clock):\n    assert trio.current_time() > 0", "its clock goes on by itself: .*"),
        ("async def test_it(own_clock):\n    assert trio.current_time() == 5", "its clock goes on by itself: .*"),
        ("async def test_it(subtests):\n    pass", "its subtests are reported one by one"),
        ("async def test_it():\n    await waited_for()", "it waits for a thread that it has started"),
        ("@pytest.mark.trio(run=own_run)\nasync def test_it():\n    assert ran", "it has a runner of its own"),
    ],
)
def test_what_cannot_be_simulated_is_run_plainly(suite: pytest.Pytester, test: str, reason: str) -> None:
    """A test that needs threads, real time or a runner of its own is run once, as ever, and the summary says why."""
    text = f"""
import contextlib, pytest, threading, trio
from trio.testing import MockClock

@pytest.fixture
def subtests():
    return "as of pytest 9, or of a plugin"

@pytest.fixture
def fast_clock():
    return MockClock(rate=1e6)

class OwnClock(trio._core._run.SystemClock):
    def current_time(self):
        return 5

@pytest.fixture
def own_clock():
    return OwnClock()

ran = []

def own_run(main, **options):
    ran.append(main)
    return trio.run(main, **options)

async def send(socket):
    await trio.sleep(0.01)
    await socket.send(b"x")

async def received(nursery):
    one, other = trio.socket.socketpair()
    with one, other:
        nursery.start_soon(send, other)
        assert await one.recv(1) == b"x"
        nursery.cancel_scope.cancel()

gate = threading.Event()

class Waker(threading.Thread):
    def __init__(self):
        super().__init__()
        self.done, self.token = trio.Event(), trio.lowlevel.current_trio_token()

    def run(self):
        gate.wait()
        with contextlib.suppress(trio.RunFinishedError):
            trio.from_thread.run_sync(self.done.set, trio_token=self.token)

    def join(self, timeout=None):
        gate.set()
        super().join(timeout)

async def waited_for():
    waker = Waker()
    waker.start()
    await waker.done.wait()

{test}
"""
    printed = run(suite, text, "--tw-explore=3", passed=1)
    (line,) = lines(printed, "not simulated:")
    assert re.fullmatch(f"not simulated: test_it.py::test_it: {reason}", line)
    assert "- schedule -" not in printed


def test_a_suite_may_have_another_runner(pytester: pytest.Pytester) -> None:
    """A suite that is run by something else than trio's own runner is left alone."""
    pytester.makeini(INI.format(trio_mode="false") + "trio_run = qtrio\n")
    pytester.makepyfile(qtrio="import trio\n\ndef run(main, **options):\n    return trio.run(main, **options)\n")
    pytester.syspathinsert()
    test = "import pytest\n\n@pytest.mark.trio\nasync def test_it():\n    pass\n"
    assert lines(run(pytester, test, "--tw-explore=3", passed=1), "not simulated:")[0].endswith(": it has a runner of its own")


def test_a_test_that_fails_plainly_fails(suite: pytest.Pytester) -> None:
    """A test that cannot be simulated, and fails as it is run plainly, has failed, without a word of schedules."""
    test = "import trio\n\nasync def test_it():\n    assert await trio.to_thread.run_sync(int)\n"
    printed = run(suite, test, "--tw-explore=3", failed=1)
    assert "- schedule -" not in printed
    assert lines(printed, "not simulated: test_it.py::test_it: ")


def test_what_others_have_run_is_said(suite: pytest.Pytester) -> None:
    """If a test is not run by the plugin's runner after all, it is run once, and the summary says so."""
    suite.makeconftest(
        """
        import pytest, trio

        @pytest.hookimpl(tryfirst=True)
        def pytest_pyfunc_call(pyfuncitem):
            return True
        """
    )
    test = "async def test_it():\n    assert 0\n"
    printed = run(suite, test, "--tw-explore=3", passed=1)
    assert lines(printed, "not simulated:") == ["not simulated: test_it.py::test_it: pytest-trio has run it by other means"]


def test_without_pytest_trio_nothing_is_simulated(pytester: pytest.Pytester) -> None:
    """The plugin lives without pytest-trio: it changes nothing, and says so."""
    pytester.makepyfile(test_it="import pytest\n\n@pytest.mark.skip\nasync def test_it():\n    pass\n\ndef test_next():\n    pass\n")
    result = pytester.runpytest_inprocess("-p", "no:trio", "--tw-explore=3")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["no test was run under schedules"])


def test_pytest_trio_need_not_be_installed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pytest-trio there is still ``simulated``."""
    monkeypatch.delitem(sys.modules, "pytest_trio.plugin")
    pytester.makepyfile(test_it="import trio\n\ndef test_it(simulated):\n    simulated(trio.sleep, 1)\n")
    result = pytester.runpytest_inprocess("-p", "no:trio", "--tw-explore=3")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 test, 1 schedule, 1 distinct course"])


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan", "--collect-only"])
def test_what_is_not_run_is_not_explored(suite: pytest.Pytester, option: str) -> None:
    """When pytest is asked to run nothing, nothing is run."""
    test = "async def test_it(nursery):\n    assert 0\n"
    assert "no test was run under schedules" in run(suite, test, "--tw-explore=3", option)


# -- options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--tw-explore=0"], "argument --tw-explore: must be 1 or more, not 0"),
        (["--tw-explore=many"], "argument --tw-explore: invalid _count value: 'many'"),
        (["--tw-step-cost=-1"], "argument --tw-step-cost: must be zero or more seconds, and finite, not -1"),
        (["--tw-step-cost=inf"], "argument --tw-step-cost: must be zero or more seconds, and finite, not inf"),
        (["--tw-step-cost=nan"], "argument --tw-step-cost: must be zero or more seconds, and finite, not nan"),
        (["--tw-seed=x"], "argument --tw-seed: invalid int value: 'x'"),
        (["--tw-strategy=best", "--tw-explore=1"], "argument --tw-strategy: invalid choice: 'best'"),
        (["--tw-granularity=fine"], "argument --tw-granularity: invalid choice: 'fine'"),
        (["--tw-strategy=pos"], "--tw-strategy says how --tw-explore=N chooses its schedules: give both"),
        (["--tw-replay=abc"], "--tw-replay: 'abc' is no replay token: copy the whole line that a failure printed"),
        (
            [f"--tw-replay={Schedule().to_token()}", "--tw-explore=2", "--tw-step-cost=0", "--tw-seed=0"],
            "--tw-replay runs one schedule, which decides the rest: leave out --tw-explore, --tw-seed, --tw-step-cost",
        ),
    ],
)
def test_a_wrong_option_is_told(suite: pytest.Pytester, options: Sequence[str], text: str) -> None:
    """Options that mean nothing, or contradict each other, are told before a test is run."""
    result = suite.runpytest_inprocess(*options)
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    assert lines(str(result.stderr), "ERROR")[0].removeprefix("ERROR: ").startswith(text) or text in str(result.stderr)


@pytest.mark.parametrize("strategy", _trioworkers_pytest.STRATEGIES)
def test_each_strategy_finds_another_order(suite: pytest.Pytester, strategy: str) -> None:
    """By each strategy, two tasks are run in both orders."""
    test = f"{ORDER}\nasync def test_it():\n    assert await in_order('a', 'b') == 'ab'\n"
    printed = run(suite, test, "--tw-explore=100", f"--tw-strategy={strategy}", failed=1)
    assert lines(printed, "t=0.000 ") == ["t=0.000  a is held before its first step while b runs"]


def test_all_schedules_may_be_few(suite: pytest.Pytester) -> None:
    """The exhaustive strategy ends when there is no other schedule."""
    test = f"{ORDER}\nasync def test_it():\n    assert await in_order('a', 'b') in ('ab', 'ba')\n"
    printed = run(suite, test, "--tw-explore=1000", "--tw-strategy=exhaustive", passed=1)
    (schedules,) = re.findall(r"^1 test, (\d+) schedules", printed, re.MULTILINE)
    assert 2 <= int(schedules) < 100


def test_the_seed_is_the_tests_own(suite: pytest.Pytester) -> None:
    """Without ``--tw-seed``, each test has a seed of its own, the same every time; with it, that is everyone's."""
    test = f"{ORDER}\n" + "".join(f"async def test_{name}():\n    assert not await in_order('a', 'b')\n\n" for name in "xy")

    def seeds(*options: str) -> list[int]:
        return [Schedule.from_token(token).seed for token in tokens(run(suite, test, "--tw-explore=1", *options, failed=2))]

    assert seeds() == seeds()
    assert len(set(seeds())) == 2
    assert seeds("--tw-seed=7") == [7, 7]


def test_steps_cost_nothing_unless_asked(suite: pytest.Pytester) -> None:
    """A suite that compares virtual times is not disturbed; when steps cost time, a timeout can race with work."""
    test = """
    import trio

    async def test_it(autojump_clock):
        with trio.move_on_after(1) as scope:
            await trio.sleep(0.9999)
            await trio.sleep(0)
        assert not scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
    """
    assert "1 test, 1 schedule" in run(suite, test, "--tw-explore=30", passed=1)
    printed = run(suite, test, "--tw-explore=30", "--tw-step-cost=0.001", failed=1)
    (token,) = tokens(printed)
    assert Schedule.from_token(token).step_cost == 0.001
    run(suite, test, f"--tw-replay={token}", failed=1)


def test_a_cost_that_does_not_matter_is_left_out(suite: pytest.Pytester) -> None:
    """A schedule that fails without any cost of its steps is told without."""
    test = f"{ORDER}\nasync def test_it():\n    assert await in_order('a', 'b') == 'ab'\n"
    (token,) = tokens(run(suite, test, "--tw-explore=30", "--tw-step-cost=0.001", failed=1))
    assert Schedule.from_token(token).step_cost == 0


def test_the_granularity_is_handed_on(suite: pytest.Pytester) -> None:
    """In batches, a race that needs more than trio's own orders is never found."""
    run(suite, ONE_RACE, "--tw-explore=30", "--tw-granularity=batch", passed=1)
    printed = run(suite, ONE_RACE.replace("range(3)", "range(1)"), "--tw-explore=30", "--tw-granularity=batch", failed=1)
    assert Schedule.from_token(tokens(printed)[0]).granularity == "batch"


# -- the fixtures --------------------------------------------------------------------------------------------------------


def test_a_world_is_there_and_closed(suite: pytest.Pytester) -> None:
    """The fixture ``world`` is a world, seeded, open in the test, and closed after it."""
    test = """
    import trio
    from trioworkers.testing import World

    worlds = []

    def test_it(world):
        worlds.append(world)
        handle = world.spawn(trio.sleep, 3)
        world.advance(2)
        assert not handle.done
        world.spawn(trio.sleep_forever)

    def test_next(world):
        assert not list(worlds[0].tasks())
        assert world is not worlds[0]
        assert world.schedule.seed != worlds[0].schedule.seed
    """
    printed = run(suite, test, passed=2)
    assert "schedule" not in printed
    run(suite, test.replace("!=", "=="), "--tw-seed=3", passed=2)


def test_a_world_that_cannot_be_closed_is_an_error(suite: pytest.Pytester) -> None:
    """What is wrong when the world is closed is an error of the test."""
    test = """
    import trio

    async def stuck():
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    def test_it(world):
        world.spawn(stuck)
        world.settle()
    """
    printed = run(suite, test, passed=1, errors=1)
    assert "DeadlockError: shielded, and nothing will ever wake it:" in printed
    assert "- schedule -" in printed


SIMULATED = f"""{RACE}
def test_it(simulated):
    assert simulated(two, 1) == 2
    simulated(both, Box())

async def two(number):
    return 2 * number
"""


def test_a_simulation_returns_what_it_returns(suite: pytest.Pytester) -> None:
    """``simulated`` returns what the function returns or raises what it raises, and takes the options of ``simulate``."""
    test = """
    import pytest, random, trio

    async def draw(add):
        await trio.sleep(5)
        return add + random.random()

    def test_it(simulated):
        drawn = simulated(draw, 10)
        assert drawn == simulated(draw, 10)
        assert len({simulated(draw, 10, seed=seed) for seed in range(3)}) == 3
        assert simulated(now, step_cost=0) == 5
        with pytest.raises(ZeroDivisionError):
            simulated(fail)

    async def now():
        await trio.sleep(5)
        return trio.current_time()

    async def fail():
        1 / 0
    """
    assert "schedule" not in run(suite, test, passed=1)
    run(suite, test, "--tw-seed=3", "--tw-explore=2", passed=1)


def test_what_a_test_simulates_is_explored(suite: pytest.Pytester) -> None:
    """A sync test that simulates is explored as an async one is, shrunk, told and replayed."""
    printed = run(suite, SIMULATED, "--tw-explore=100", failed=1)
    assert lines(printed, "t=0.000 ")[0].endswith(HELD)
    assert "shrunk to 1 in" in printed
    printed = run(suite, SIMULATED, f"--tw-replay={tokens(printed)[0]}", failed=1)
    assert lines(printed, "replayed, 1 hold:")


def test_what_a_test_simulates_is_told_without_being_asked(suite: pytest.Pytester) -> None:
    """If a test that simulates fails, its seed and schedule are told; without simulations nothing is."""
    test = SIMULATED.replace("simulated(both, Box())", "assert simulated(both, Box(), seed=5), 'no'")
    printed = run(suite, test, failed=1)
    assert re.search(r"^seed \d+:$", printed, re.MULTILINE)
    assert len(tokens(printed)) == 1
    assert Schedule.from_token(tokens(printed)[0]).seed == 5
    assert "- schedule -" not in run(suite, "def test_it(simulated):\n    assert 0\n", failed=1)


def test_a_world_is_explored(suite: pytest.Pytester) -> None:
    """A test that steps a world by hand is explored, too."""
    test = f"""{RACE}
def test_it(world):
    handle = world.spawn(both, Box())
    world.settle()
    assert handle.done
"""
    printed = run(suite, test, "--tw-explore=100", failed=1)
    assert lines(printed, "t=0.000 ")[0].endswith(HELD)
    assert "shrunk to 1 in" in printed


def test_several_simulations_have_the_same_plan(suite: pytest.Pytester) -> None:
    """In one run of a test, each simulation finds the same strategy as the first; the one that failed is told of."""
    test = f"""{ORDER}
def test_it(simulated):
    one, other = (simulated(in_order, *"abcdef") for _ in range(2))
    assert one == other
    assert one == "abcdef"
"""
    printed = run(suite, test, "--tw-explore=9", "--tw-strategy=uniform", failed=1)
    assert "assert one == other" in printed
    assert lines(printed, "E ")[0].startswith("E       AssertionError: assert '")
    assert "== 'abcdef'" in printed


def test_a_user_may_have_a_fixture_of_that_name(suite: pytest.Pytester) -> None:
    """A fixture of the suite's own goes before the plugin's, and its tests are run as ever."""
    test = "import pytest\n\n@pytest.fixture\ndef world():\n    return 5\n\ndef test_it(world):\n    assert world == 5\n"
    assert "no test was run under schedules" in run(suite, test, "--tw-explore=3", passed=1)


def test_many_holds_are_not_all_told(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a schedule with many holds, the first ones are told, and how many more there are."""
    monkeypatch.setattr(_pytest_runs, "LINES", 2)
    test = f"{ORDER}\ndef test_it(simulated):\n    assert not simulated(in_order, *'abcdefghijklmnop', step_cost=0)\n"
    printed = run(suite, test, "--tw-seed=1", failed=1)
    (token,) = tokens(printed)
    assert len(lines(printed, "t=0.000 ")) == 2
    assert lines(printed, "... and") == [f"... and {len(Schedule.from_token(token).holds) - 2} holds more"]


# -- @explore ------------------------------------------------------------------------------------------------------------

EXPLORED = f"""{RACE}
from trioworkers.testing import explore

@explore(max_examples=100)
async def test_it():
    await both(Box())

@explore(max_examples=5)
async def test_next():
    await trio.sleep(1)
"""


def test_explorations_are_told_of(suite: pytest.Pytester) -> None:
    """A test that explores by itself has its report in the section, and the summary counts; without an option nothing is added."""
    assert "- schedule -" not in run(suite, EXPLORED, failed=1, passed=1)
    printed = run(suite, EXPLORED, "--tw-explore=3", failed=1, passed=1)
    section = printed[printed.index("- schedule -") :]
    assert lines(section, "t=0.000 ")[0].endswith(HELD)
    assert lines(section, "replay: @explore(replay=")
    assert re.search(r"^2 explorations by @explore: \d+ schedules, \d+ distinct$", printed, re.MULTILINE)


# -- in every process ----------------------------------------------------------------------------------------------------

THREE = """
import pytest, trio

async def take(steps):
    for _ in range(steps):
        await trio.lowlevel.checkpoint()

def fixture(name, steps):
    async def made(request, log, **others):
        await take(steps)
        log.append(name)
        yield name
        await take(steps)
        log.append(f"no {name}")
    return made

@pytest.fixture
def log():
    return []

@pytest.fixture
async def base(log, nursery):
    nursery.start_soon(take, 3, name="background")
    await take(2)
    log.append("base")
    yield
    log.append("no base")

@pytest.fixture
async def left(base, log):
    await take(2)
    log.append("left")
    yield
    await take(3)
    log.append("no left")

@pytest.fixture
async def right(base, log):
    await take(2)
    log.append("right")
    yield
    await take(1)
    log.append("no right")

class TestInner:
    @pytest.fixture
    async def left(self, left, log):
        await take(1)
        log.append("inner left")
        yield
        log.append("no inner left")

    async def test_it(self, left, right, base, log):
        await take(2)
        print("log:", *log, sep=",")
        assert log[-1] == "right"
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_schedule_is_the_same_in_every_process(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, seed: str) -> None:
    """Whatever the hash seed: async fixtures, one overriding the other, run in the same order, and fail by the same token."""
    suite.makepyfile(test_it=THREE)
    monkeypatch.setenv("PYTHONHASHSEED", seed)

    def told(result: pytest.RunResult) -> Sequence[str]:
        result.assert_outcomes(failed=1)
        printed = str(result.stdout)
        return [*lines(printed, "found by"), *lines(printed, "log:"), *lines(printed, "t=0.000"), *tokens(printed)]

    options = ("--tw-explore=20", "--tw-strategy=uniform")
    assert told(suite.runpytest_subprocess(*options)) == told(suite.runpytest_inprocess(*options))
