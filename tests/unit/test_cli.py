"""The command line and the census's pure parts: arguments, counting, sums, text. No worker runs here."""

from __future__ import annotations

import importlib
import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trioworkers.cli import main
from trioworkers.cli.census.app import note, show
from trioworkers.cli.census.count import FileCount, Function, NotTextError, count
from trioworkers.cli.census.files import LARGEST, files_below, read_file
from trioworkers.cli.census.progress import Progress, line
from trioworkers.cli.census.report import Findings, WorkerRow, percentile, report
from trioworkers.cli.census.tally import Tally, Total
from trioworkers.cli.census.text import cell, printable, table
from trioworkers.types import JobEvent

TRY = "(try 'trioworkers --help')"
TRY_DEMO = "(try 'trioworkers demo --help')"

# -- arguments -----------------------------------------------------------------------------------------------------------


def test_alone_it_prints_short_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command, the help says which there are, and that is no error."""
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: trioworkers")
    assert "take a census of a source tree" in out
    assert err == ""


def test_as_a_module_it_takes_the_arguments_of_the_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python -m trioworkers`` is ``main()``, and exits with its code."""
    monkeypatch.setattr(sys, "argv", ["trioworkers", "nonsense"])
    with pytest.raises(SystemExit) as exit_info:
        importlib.import_module("trioworkers.__main__")
    assert exit_info.value.code == 2
    assert "'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["demo", "--readers", "0"], f"argument --readers: expected a whole number from 1 to 999, not '0' {TRY_DEMO}"),
        (["demo", "--readers", "abc"], f"argument --readers: expected a whole number from 1 to 999, not 'abc' {TRY_DEMO}"),
        (["demo", "--readers=-1"], f"argument --readers: expected a whole number from 1 to 999, not '-1' {TRY_DEMO}"),
        (
            ["demo", "--readers", "9" * 5000],
            f"argument --readers: expected a whole number from 1 to 999, not '{'9' * 5000}' {TRY_DEMO}",
        ),
        (["demo", "--readers"], f"argument --readers: expected one argument {TRY_DEMO}"),
        (["demo", ""], f"argument PATH: cannot list '': No such file or directory {TRY_DEMO}"),
        (["demo", "no/such"], f"argument PATH: cannot list 'no/such': No such file or directory {TRY_DEMO}"),
        (["demo", "no\nsuch"], f"argument PATH: cannot list 'no\\nsuch': No such file or directory {TRY_DEMO}"),
        (["demo", __file__], f"argument PATH: cannot list {__file__!r}: Not a directory {TRY_DEMO}"),
        (["demo", ".", "more"], f"unrecognized arguments: more {TRY}"),
        (["--frobnicate"], f"unrecognized arguments: --frobnicate {TRY}"),
        (["--vers"], f"unrecognized arguments: --vers {TRY}"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments: Sequence[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad arguments: one clear line on stderr, nothing on stdout, exit code 2."""
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", f"trioworkers: {line}\n")


def test_a_path_that_no_system_has_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A null character in a path is a bad argument like others."""
    assert main(["demo", "no\0such"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trioworkers: argument PATH: cannot list 'no\\x00such': ")
    assert "embedded null" in err
    assert err.count("\n") == 1


def test_an_unknown_command_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command is one line, too, in which the known ones stand."""
    assert main(["frobnicate"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trioworkers: argument COMMAND: invalid choice: 'frobnicate'")
    assert "demo" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("installed", [True, False])
def test_the_version_is_that_of_the_distribution(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    """``--version`` tells the installed version, or that there is none."""

    def version(name: str) -> str:
        if not installed:
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", version)
    assert main(["--version"]) == 0
    expected = "trioworkers 1.2.3" if installed else "trioworkers, from a source tree that is not installed"
    assert capsys.readouterr() == (f"{expected}\n", "")


# -- files ---------------------------------------------------------------------------------------------------------------


def test_files_are_those_below_the_root_in_order(tmp_path: Path) -> None:
    """Files are listed relative to the root, sorted; what is hidden or left out is not entered, links are not followed."""
    for path in ("b.py", "a/z.txt", "a/b/c", ".hidden-file", ".git/x", "__pycache__/x.pyc", "a/site-packages/y.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert files_below(str(tmp_path)) == [".hidden-file", "a/b/c", "a/z.txt", "b.py", "dangling", "loop"]


def test_a_directory_that_cannot_be_listed_is_in_the_list(tmp_path: Path) -> None:
    """A directory that cannot be listed is handed out like a file, and whoever reads it sees why."""
    gone = str(tmp_path / "gone")
    assert files_below(gone) == ["."]
    with pytest.raises(FileNotFoundError):
        read_file(gone)


def make_huge(path: Path) -> None:
    """Make a file that is too large, and takes no room."""
    path.touch()
    os.truncate(path, LARGEST + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (os.mkfifo, "neither a file nor a directory"),
        (make_huge, "larger than 67,108,864 bytes"),
    ],
)
def test_what_cannot_be_read_raises(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    """A file that cannot be read, or had better not be, raises an OSError that says why, and never blocks."""
    make(tmp_path / "it")
    with pytest.raises(OSError, match=reason):
        read_file(str(tmp_path / "it"))


def test_a_file_is_read_as_bytes(tmp_path: Path) -> None:
    """What is in a file comes out as it is."""
    (tmp_path / "it").write_bytes(b"\xff\r\n")
    assert read_file(str(tmp_path / "it")) == b"\xff\r\n"


# -- counting ------------------------------------------------------------------------------------------------------------

SOURCE = """\
import os, os.path
import sys as system
from collections.abc import Iterable
from . import sibling
from .sibling import thing


@decorated
def short(): return 1


class Outer:
    if True:
        def method(self):
            def inner():
                import json
                return 1
            return inner

    class Inner:
        async def deep(self):
            try:
                from os import path
            except OSError as name:
                import one
            else:
                import two
            finally:
                import three
            while x:
                import four
            match x:
                case 1:
                    import five
            return lambda: 0
"""


def test_python_is_counted_by_its_statements() -> None:
    """Functions by qualified name and length, longest first; absolute imports by full name, each once, wherever they stand."""
    assert count("pkg/a.PY", SOURCE.encode()) == FileCount(
        ".py",
        len(SOURCE),
        35,
        [
            Function(15, "Outer.Inner.deep", 21),
            Function(5, "Outer.method", 14),
            Function(3, "Outer.method.inner", 15),
            Function(1, "short", 9),
        ],
        ["collections.abc", "five", "four", "json", "one", "os", "os.path", "sys", "three", "two"],
    )


def test_only_the_ten_longest_functions_of_a_file_are_kept() -> None:
    """A file tells of its ten longest functions; of equally long ones the first ones count."""
    text = "".join(f"def f{number}():\n    pass\n" for number in range(12)) + "def longer():\n    1\n    2\n"
    assert [function.name for function in count("a.py", text.encode()).functions] == ["longer", *(f"f{number}" for number in range(9))]


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"a\r\nb\r\n", 2), (b"a\x0cb", 1)]
)
def test_lines_are_what_line_feeds_end(data: bytes, lines: int) -> None:
    """A line ends with a line feed; a last one without counts; an empty file has none."""
    assert count("x.txt", data) == FileCount(".txt", len(data), lines)


@pytest.mark.parametrize(("name", "kind"), [("Makefile", ""), ("a/b.tar.GZ", ".gz"), (".hidden", ""), ("a.b/c", "")])
def test_a_kind_is_a_suffix_in_lower_case(name: str, kind: str) -> None:
    """The kind of a file is its last suffix in lower case; there may be none."""
    assert count(name, b"").kind == kind


def test_text_is_decoded_as_it_says() -> None:
    """Python is decoded by its coding line, a byte order mark is no text, everything else is UTF-8."""
    assert count("a.py", "# coding: latin-1\nx = 'é'\n".encode("latin-1")).unparsed is None
    assert count("a.py", b"\xef\xbb\xbfimport os\n").modules == ["os"]
    assert count("a.txt", "é\n".encode()).lines == 1


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"ab\xff", "not utf-8: invalid start byte at byte 2"),
        ("a.py", b"\n\n\nx = '\xe9'\n", "not utf-8: invalid continuation byte at byte 8"),
        ("a.py", b"x = '\xe9'\n", "invalid or missing encoding declaration"),
        ("a.py", b"# coding: klingon\n", "unknown encoding: klingon"),
        ("a.py", b"# coding: rot13\n", "'rot13' is not a text encoding; use codecs.decode() to handle arbitrary codecs"),
    ],
)
def test_what_is_no_text_says_why(name: str, data: bytes, reason: str) -> None:
    """What cannot be decoded raises one error, whatever the reason."""
    with pytest.raises(NotTextError) as error_info:
        count(name, data)
    assert str(error_info.value) == reason


def test_an_encoding_may_refuse_everything() -> None:
    """There is an encoding that decodes nothing at all; it is no text, either."""
    with pytest.raises(NotTextError, match="undefined encoding"):
        count("a.py", b"# coding: undefined\nx\n")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print 'old'\n", "Missing parentheses in call to 'print'. Did you mean print(...)? (line 1)"),
        ("x = 1\0\n", "source code string cannot contain null bytes"),
        ("-" * 100_000 + "1", None),
        ("x" + ".x" * 100_000, None),
    ],
)
def test_python_that_cannot_be_parsed_is_counted_all_the_same(text: str, reason: str | None) -> None:
    """A syntax error, null characters, nesting too deep for the parser: lines are counted, and it is told why not more."""
    counted = count("a.py", text.encode())
    assert (counted.lines, counted.functions, counted.modules) == (1, [], [])
    assert counted.unparsed
    assert reason in {None, counted.unparsed}


def test_parsing_warns_nobody() -> None:
    """A doubtful escape in somebody's file is no warning of ours (warnings are errors in these tests)."""
    assert count("a.py", b"x = '\\d'\n").unparsed is None


@given(st.text(), st.sampled_from(["a.py", "a.txt"]))
def test_any_text_can_be_counted(text: str, name: str) -> None:
    """No text makes counting raise, and a count survives its journey as a job's response."""
    counted = count(name, text.encode("utf-8", "ignore"))
    assert FileCount.from_dict(counted.to_dict()) == counted


# -- sums ----------------------------------------------------------------------------------------------------------------

COUNTS = [
    ("a.py", FileCount(".py", 10, 3, [Function(3, "long", 1), Function(1, "f", 9)], ["os", "sys"])),
    ("b.py", FileCount(".py", 5, 1, [Function(3, "long", 1), Function(3, "as long", 7)], ["os"], "bad (line 1)")),
    ("c", FileCount("", 1, 1)),
]


@given(st.permutations(COUNTS))
def test_sums_do_not_depend_on_the_order(counts: list[tuple[str, FileCount]]) -> None:
    """In whatever order files come, the sums are the same."""
    tally = Tally()
    for path, counted in counts:
        tally.count(path, counted)
    tally.fail("d", "broken")
    assert tally == Tally(
        None,
        Total(3, 5, 16),
        {".py": Total(2, 4, 15), "": Total(1, 1, 1)},
        [
            (Function(3, "long", 1), "a.py"),
            (Function(3, "long", 1), "b.py"),
            (Function(3, "as long", 7), "b.py"),
            (Function(1, "f", 9), "a.py"),
        ],
        tally.modules.__class__({"os": 2, "sys": 1}),
        {"b.py": "bad (line 1)"},
        {"d": "broken"},
    )
    assert tally.seen == 4


def test_the_stream_of_a_census_is_added_up() -> None:
    """The stream's start tells how many files there are, each piece is a file, its end and anything else add nothing."""
    tally = Tally()
    for event in (
        JobEvent(JobEvent.STREAM_START, {"files": 3}),
        JobEvent(JobEvent.STREAM_DATA, {"path": "c", "count": FileCount("", 1, 1).to_dict()}),
        JobEvent(JobEvent.STREAM_DATA, {"path": "d", "failed": "broken"}),
        JobEvent(JobEvent.UPDATE, None),
        JobEvent(JobEvent.STREAM_END, {"complete": True}),
    ):
        note(tally, event)
    assert (tally.expected, tally.total, tally.failed, tally.seen) == (3, Total(1, 1, 1), {"d": "broken"}, 2)


# -- text ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0], 50, 1.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([1.0, 2.0], 0, 1.0),
    ],
)
def test_a_percentile_is_one_of_the_values(values: list[float], percent: float, expected: float) -> None:
    """The nearest rank: the smallest value that so many percent do not exceed."""
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.floats(0, 100))
def test_a_percentile_covers_its_share(values: list[float], percent: float) -> None:
    """At least so many percent of all values are not above it, and it is one of them."""
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_a_percentile_of_nothing_is_nan() -> None:
    """Without values there is no percentile."""
    assert math.isnan(percentile([], 50))


def test_cells_are_written_for_people() -> None:
    """Whole numbers with separators, others with one digit, NaN as a dash."""
    assert [cell(value) for value in (1234567, 1234.56, math.nan, "as it is")] == ["1,234,567", "1,234.6", "-", "as it is"]


def test_names_cannot_disturb_a_terminal() -> None:
    """Line feeds, escape codes and bytes that are no text are written as escapes; other text stays."""
    assert printable("é a\n\x1b[31m\udcff") == "é a\\n\\x1b[31m\\udcff"


def test_a_table_is_aligned() -> None:
    """Numbers to the right, text to the left, no blanks at the end; no rows, no table."""
    assert (
        table("Title", ("name", "n"), [("a", 1), ("long name", 1000)])
        == "Title\n  name           n\n  a              1\n  long name  1,000"
    )
    assert table("Title", ("n", "name"), [(1, "a")]) == "Title\n  n  name\n  1  a"
    assert table("Title", ("name",), []) == ""


@pytest.mark.parametrize(
    ("tally", "expected"),
    [
        (Tally(), "0 files, 0 lines"),
        (Tally(1000, Total(2, 3000, 1), failed={"x": ""}), "3 of 1,000 files, 3,000 lines, 1 failed"),
    ],
)
def test_the_live_line_says_how_far_it_is(tally: Tally, expected: str) -> None:
    """How many files of how many, lines, failures."""
    assert line(tally) == expected


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


async def test_the_live_line_is_drawn_ten_times_a_second_at_most(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal one line is drawn over and over, not too often, and wiped at the end."""
    monkeypatch.setenv("COLUMNS", "21")
    terminal = Terminal()
    with Progress(terminal) as progress:
        for files in range(10):
            progress.show(Tally(total=Total(files)))
            await trio.sleep(1 / 16)
    lines = [f"{files} files, 0 lines".ljust(20) for files in (0, 2, 4, 6, 8)]
    assert terminal.getvalue() == "".join(f"\r{line}" for line in [*lines, " " * 20]) + "\r"


async def test_nothing_is_drawn_where_nobody_looks(autojump_clock: trio.testing.MockClock) -> None:
    """What is no terminal gets nothing."""
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.show(Tally())
        await trio.lowlevel.checkpoint()
    assert stream.getvalue() == ""


# -- the report ----------------------------------------------------------------------------------------------------------


def test_a_report_of_nothing_is_short() -> None:
    """Sections without content are left out."""
    findings = Findings("/empty", Tally(0), complete=True, seconds=0.125, workers=[WorkerRow("census", 0, {"completed": 1}, 0, 0, [])])
    assert report(findings) == (
        "Census of /empty\n"
        "0 files, 0 lines, 0 bytes in 0.12 s\n"
        "\n"
        "Workers\n"
        "  name    jobs done  failed  lines  mailbox peak  p50 ms  p90 ms  p99 ms\n"
        "  census          1       0      0             0       -       -       -"
    )


def test_a_full_report() -> None:
    """All sections, sorted: most first, then by name; a few examples of failures stand for all; the tree of workers."""
    tally = Tally(40)
    for path, counted in COUNTS:
        tally.count(path, counted)
    for number in range(11):
        tally.count(f"x.k{number:02}", FileCount(f".k{number:02}", 1, 1))
        tally.fail(f"bad\n{number:02}.f{number % 7}", "broken")
    workers = [
        WorkerRow("census", 0, {"completed": 1}, 16, 2, [1.5]),
        WorkerRow("reader-1", 1, {"completed": 14, "failed": 10, "error": 1}, 16, 0, [0.001, 0.0025]),
    ]
    assert report(Findings("/some\x07where", tally, complete=False, seconds=1.5, workers=workers)) == (
        "Census of /some\\x07where\n"
        "14 files, 16 lines, 27 bytes in 1.50 s\n"
        "Interrupted: only 25 of 40 files were looked at\n"
        "\n"
        "File types\n"
        "  type        files  lines  bytes\n"
        "  .py             2      4     15\n"
        "  (none)          1      1      1\n"
        "  .k00            1      1      1\n"
        "  .k01            1      1      1\n"
        "  .k02            1      1      1\n"
        "  .k03            1      1      1\n"
        "  .k04            1      1      1\n"
        "  .k05            1      1      1\n"
        "  .k06            1      1      1\n"
        "  .k07            1      1      1\n"
        "  (3 others)      3      3      3\n"
        "\n"
        "Longest functions\n"
        "  lines  function  where\n"
        "      3  long      a.py:1\n"
        "      3  long      b.py:1\n"
        "      3  as long   b.py:7\n"
        "      1  f         a.py:9\n"
        "\n"
        "Most imported modules\n"
        "  files  module\n"
        "      2  os\n"
        "      1  sys\n"
        "\n"
        "Not parsed, only counted: 1 (1 .py)\n"
        "  b.py: bad (line 1)\n"
        "\n"
        "Failed: 11 (2 .f0, 2 .f1, 2 .f2, 2 .f3, 1 .f4, and 2 more)\n"
        "  bad\\n00.f0: broken\n"
        "  bad\\n01.f1: broken\n"
        "  bad\\n02.f2: broken\n"
        "  bad\\n03.f3: broken\n"
        "  bad\\n04.f4: broken\n"
        "  and 6 more\n"
        "\n"
        "Workers\n"
        "  name        jobs done  failed  lines  mailbox peak   p50 ms   p90 ms   p99 ms\n"
        "  census              1       0     16             2  1,500.0  1,500.0  1,500.0\n"
        "    reader-1         14      11     16             0      1.0      2.5      2.5"
    )


def test_an_interrupted_report_may_not_know_how_many_there_are() -> None:
    """Ctrl-C may come before the files are listed."""
    text = report(Findings("/x", Tally(), complete=False, seconds=0.0, workers=[]))
    assert text.splitlines()[-1] == "Interrupted: only 0 files were looked at"


def test_what_stdout_cannot_encode_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow stdout gets escapes, not an error."""
    stdout = io.TextIOWrapper(raw := io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    show("é")
    assert raw.getvalue() == b"\\xe9\n"


def test_nobody_need_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the reader of our output has gone, as ``head`` does, printing ends quietly, at exit, too."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        show("x" * 100_000)
        show("and more")
