"""The census, whole: a small tree counted exactly, failures reported, Ctrl-C at any moment, the program as its users run it."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Self

import pytest
import trio
import trio.testing
from support import Striker

from trioworkers import JobError, JobStatus
from trioworkers.cli import main
from trioworkers.cli.census import run, workers
from trioworkers.cli.census.app import take_census
from trioworkers.cli.census.progress import Progress
from trioworkers.cli.census.tally import Tally

PROGRAM = [sys.executable, "-m", "trioworkers"]

REPORT = """\
Census of {root}
6 files, 17 lines, 161 bytes in ? s

File types
  type    files  lines  bytes
  .py         4     14    144
  (none)      1      2     11
  .txt        1      1      6

Longest functions
  lines  function       where
      3  Greeter.greet  pkg/greet.py:4
      2  main           main.py:4

Most imported modules
  files  module
      2  sys
      1  os.path

Not parsed, only counted: 1 (1 .py)
  old.py: Missing parentheses in call to 'print'. Did you mean print(...)? (line 1)

Failed: 4 (2 (none), 1 .bin, 1 .py)
  dangling: No such file or directory
  latin.py: invalid or missing encoding declaration
  loop: Too many levels of symbolic links
  pkg/data.bin: not utf-8: invalid start byte at byte 0

Workers
  name jobs done failed lines mailbox peak p50 ms p90 ms p99 ms
  census 1 0 17 1 ? ? ?
  reader-1 6 4 17 0 ? ? ?
"""


@pytest.fixture(name="tree")
def make_tree(tmp_path: Path) -> Path:
    """A small tree with one of everything: ten files, of which four fail."""
    tree = tmp_path / "tree"
    (tree / "pkg").mkdir(parents=True)
    (tree / "main.py").write_text("import sys\nimport os.path\n\ndef main():\n    pass\n")
    (tree / "pkg" / "greet.py").write_text("import sys\n\nclass Greeter:\n    def greet(self):\n        # hello\n        pass\n")
    (tree / "pkg" / "__init__.py").write_text("")
    (tree / "old.py").write_text("print 'old'\nx = 1\ny")
    (tree / "README.txt").write_text("hello\n")
    (tree / "Makefile").write_text("all:\n\ttrue\n")
    (tree / "pkg" / "data.bin").write_bytes(b"\xff\x00\n")
    (tree / "latin.py").write_bytes(b"x = '\xe9'\n")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "loop").symlink_to("loop")
    (tree / ".git").mkdir()
    (tree / ".git" / "ignored.py").write_text("import nothing\n")
    return tree


@pytest.fixture(name="large_tree")
def make_large_tree(tmp_path: Path) -> Path:
    """A tree of so many files that no reader is done with it at once."""
    tree = tmp_path / "large"
    tree.mkdir()
    for number in range(200):
        (tree / f"{number:03}.txt").write_text("one line\n")
    return tree


def steady(text: str) -> str:
    """Return a report with question marks for what differs from run to run: seconds, milliseconds, the widths of those columns."""
    before, _, after = text.partition("\nWorkers\n")
    rows = (" ".join(row.split()) for row in after.splitlines())
    after = "".join(f"  {re.sub(r'( [0-9.,]+){3}$', ' ? ? ?', row)}\n" for row in rows)
    return re.sub(r"in [0-9.]+ s", "in ? s", before) + "\nWorkers\n" + after


# -- counting ------------------------------------------------------------------------------------------------------------


def test_a_small_tree_is_counted_exactly(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every number of the report is right; files that cannot be read or decoded are failed jobs, reported at the end, and no crash."""
    assert main(["demo", str(tree), "--readers", "1"]) == 0
    out, err = capsys.readouterr()
    assert steady(out) == REPORT.format(root=tree)
    assert err == ""


@pytest.mark.parametrize("readers", [2, 3, 30])
def test_the_number_of_readers_changes_nothing_but_who_reads(tree: Path, capsys: pytest.CaptureFixture[str], readers: int) -> None:
    """However many readers there are, the sums are the same, and what the readers have done adds up."""
    assert main(["demo", str(tree), "--readers", str(readers)]) == 0
    sums, _, table = steady(capsys.readouterr().out).partition("\nWorkers\n")
    assert sums == REPORT.format(root=tree).partition("\nWorkers\n")[0]
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [f"reader-{number}" for number in range(1, readers + 1)]
    assert [sum(int(row[column]) for row in rows) for column in (1, 2, 3)] == [6, 4, 17]


def test_an_empty_tree_is_a_census_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory without files is counted: there is nothing in it."""
    assert main(["demo", str(tmp_path)]) == 0
    assert steady(capsys.readouterr().out).startswith(f"Census of {tmp_path}\n0 files, 0 lines, 0 bytes in ? s\n\nWorkers\n")


def test_without_a_path_it_is_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default is the running Python's standard library, wherever that is."""
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tree)})
    assert main(["demo"]) == 0
    assert capsys.readouterr().out.startswith(f"Census of {tree}\n6 files, 17 lines, 161 bytes")


def test_a_mistake_in_counting_costs_one_file(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a reader's handler raises ends its job as an error: the file is reported, the census goes on."""

    def count(path: str, data: bytes) -> object:
        raise ZeroDivisionError(Path(path).name)

    monkeypatch.setattr(workers, "count", count)
    assert main(["demo", str(tree)]) == 0
    out = capsys.readouterr().out
    assert "\n  Makefile: ZeroDivisionError: Makefile\n" in out
    assert "\n  dangling: No such file or directory\n" in out


def test_a_mistake_in_the_census_is_no_interruption(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the census itself fails, its job's error comes out: it is not taken for a Ctrl-C."""

    def files_below(root: str) -> list[str]:
        raise ZeroDivisionError(root)

    monkeypatch.setattr(workers, "files_below", files_below)
    with pytest.raises(JobError) as error_info:
        run(str(tree), 1)
    assert (error_info.value.status, error_info.value.reason) == (JobStatus.ERROR, f"ZeroDivisionError: {tree}")


# -- Ctrl-C --------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A terminal at which somebody presses Ctrl-C when something is drawn for the first time."""

    def isatty(self) -> bool:
        """It is one."""
        return True

    def write(self, text: str) -> int:
        """Draw."""
        if not self.getvalue():
            signal.raise_signal(signal.SIGINT)
        return super().write(text)


def looked_at(report: str) -> tuple[int, int]:
    """How many files an interrupted census has looked at, and how many there are."""
    found = re.search(r"^Interrupted: only (\d+) of (\d+) files were looked at$", report, re.MULTILINE)
    assert found is not None
    return int(found[1]), int(found[2])


def test_ctrl_c_drains_and_reports_what_was_counted(
    large_tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C: files being read are finished, no further one goes out, the report is about those counted, exit code 130."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert main(["demo", str(large_tree), "--readers", "3"]) == 130
    report = capsys.readouterr().out
    seen, expected = looked_at(report)
    assert expected == 200
    assert 0 < seen < 200
    assert f"\n{seen} files, {seen} lines, {seen * 9:,} bytes in" in report
    readers = [line.split() for line in report.splitlines() if "reader-" in line]
    assert sum(int(row[1]) for row in readers) == sum(int(row[3]) for row in readers) == seen
    assert terminal.getvalue().endswith(" \r")


@pytest.mark.parametrize("start", range(1, 8))
def test_ctrl_c_may_come_at_any_step(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """At whatever step Ctrl-C comes, the program ends with 130 (or 0, if all was done), a report or none, and no traceback."""
    codes = set()
    real_run = trio.run
    step, instrument = start, Striker(0, signal.SIGINT)
    while instrument.left <= 0:  # until it would come after the last step
        instrument = Striker(step, signal.SIGINT)
        monkeypatch.setattr(trio, "run", partial(real_run, instruments=[instrument]))
        codes.add(code := main(["demo", str(tree), "--readers", "2"]))
        out, err = capsys.readouterr()
        assert err == ""
        assert ("Interrupted" in out) <= (code == 130)
        assert code == 130 or out.startswith(f"Census of {tree}\n6 files, 17 lines")
        step += 7
    assert codes == {0, 130}


class Stall:
    """Takes the place of a blocking function, and blocks until released; says when it has been called."""

    def __init__(self) -> None:
        self.called = trio.Event()
        self._release = threading.Event()

    def __call__(self, path: str) -> list[str]:
        """Block, in a thread."""
        trio.from_thread.run_sync(self.called.set)
        self._release.wait()
        return []

    def __enter__(self) -> Self:
        """Let it block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the thread go."""
        self._release.set()


async def test_ctrl_c_does_not_wait_for_the_list_of_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a directory, perhaps a slow one, is being listed: the listing is left to itself."""
    with Stall() as stall, trio.fail_after(60):
        monkeypatch.setattr(workers, "files_below", stall)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press_ctrl_c, stall, 1)
            findings = await take_census(str(tree), 2, Progress(io.StringIO()))
    assert (findings.complete, findings.tally) == (False, Tally())


async def test_a_second_ctrl_c_does_not_wait_for_a_file_either(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Ctrl-C finishes the file that is being read; a second one cancels that, and what is known is still reported."""
    with Stall() as stall, trio.fail_after(60):
        monkeypatch.setattr(workers, "read_file", stall)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(press_ctrl_c, stall, 2)
            findings = await take_census(str(tree), 1, Progress(io.StringIO()))
    assert (findings.complete, findings.tally) == (False, Tally(10))
    assert [(worker.name, worker.ended) for worker in findings.workers] == [
        ("census", {"cancelled": 1}),
        ("reader-1", {"cancelled": 1}),
    ]


async def press_ctrl_c(stall: Stall, times: int) -> None:
    """Press Ctrl-C when the blocking call has begun, each time when everything has come to rest."""
    await stall.called.wait()
    for _ in range(times):
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)


# -- as a program --------------------------------------------------------------------------------------------------------


def test_the_program_takes_a_census(tree: Path) -> None:
    """``python -m trioworkers demo PATH`` prints the report on stdout, nothing on stderr, and exits with 0."""
    done = subprocess.run([*PROGRAM, "demo", str(tree), "--readers", "1"], capture_output=True, text=True, check=True)  # noqa: S603
    assert steady(done.stdout) == REPORT.format(root=tree)
    assert done.stderr == ""


def test_the_program_refuses_bad_arguments(tmp_path: Path) -> None:
    """Bad arguments: exit code 2, one line on stderr, nothing on stdout."""
    done = subprocess.run([*PROGRAM, "demo", str(tmp_path / "gone")], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("trioworkers: argument PATH: cannot list ")


def test_the_program_may_be_read_in_part(tree: Path) -> None:
    """``demo | head -1``: whoever reads the report may stop early, and no complaint is printed."""
    program = subprocess.Popen([*PROGRAM, "demo", str(tree)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    with program.stderr:
        assert program.stderr.read() == b""
    assert program.wait() == 0


def test_ctrl_c_at_a_terminal() -> None:
    """The standard library, interrupted as soon as the live line shows that it is being read: a partial report, exit code 130."""
    terminal, end = pty.openpty()
    program = subprocess.Popen([*PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=end, text=True)  # noqa: S603
    os.close(end)
    drawn = b""
    while not re.search(rb"[1-9][0-9,]* of [0-9,]+ files", drawn):
        drawn += os.read(terminal, 1024)
    program.send_signal(signal.SIGINT)
    report, _ = program.communicate()
    os.close(terminal)
    assert program.returncode == 130
    found = re.search(r"^Interrupted: only ([0-9,]+) of ([0-9,]+) files were looked at$", report, re.MULTILINE)
    assert found is not None
    seen, expected = (int(number.replace(",", "")) for number in found.groups())
    assert 0 < seen < expected
    assert "reader-4" in report
