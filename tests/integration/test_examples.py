"""The examples: each runs, prints exactly what its docstring says, warns of nothing, and is short."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RACE = "find_the_race/find.py"
SCRIPTS = [*sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "census.py"), RACE]
LONGEST = 120


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example as its users do; warnings are errors."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603


def promised_output(path: Path) -> str:
    """Return what stands in an example's docstring below "Prints::", which is its end."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    _, found, output = docstring.partition("rints::\n\n")
    assert found
    return textwrap.dedent(output) + "\n"


def test_the_promised_examples_are_there() -> None:
    """There is an example for each thing to be seen first."""
    scripts = ["fan_out_with_deadline.py", "graceful_shutdown.py", "handoff.py", "hello_job.py", "stream_stopped_early.py"]
    assert [*scripts, RACE] == SCRIPTS


def test_the_race_is_in_a_small_program_without_workers() -> None:
    """The race that is found is in some thirty lines of plain trio."""
    source = (EXAMPLES / "find_the_race" / "post_office.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 40
    assert "import trioworkers" not in source


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_prints_what_its_docstring_says(name: str) -> None:
    """An example's docstring ends with its real output, to the letter; nothing goes to stderr; the exit code is 0."""
    done = run(name)
    assert (done.stdout, done.stderr, done.returncode) == (promised_output(EXAMPLES / name), "", 0)


@pytest.mark.parametrize("name", [*SCRIPTS, "census.py"])
def test_an_example_is_short(name: str) -> None:
    """An example fits on two screens."""
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_census_script_is_the_demo(tmp_path: Path) -> None:
    """``examples/census.py`` takes the same arguments as ``python -m trioworkers demo``, and does the same."""
    (tmp_path / "one.txt").write_text("1\n2\n")
    done = run("census.py", str(tmp_path), "--readers", "2")
    assert done.stdout.startswith(f"Census of {tmp_path}\n1 files, 2 lines, 4 bytes in ")
    assert (done.stderr, done.returncode) == ("", 0)
    refused = run("census.py", "--readers", "none")
    assert (refused.stdout, refused.stderr.count("\n"), refused.returncode) == ("", 1, 2)
