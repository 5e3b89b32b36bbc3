"""The types that users see: shipped, right, and the same at run time."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio

import trioworkers

ROOT = Path(__file__).parents[2]
CHECKED = sorted((ROOT / "tests" / "typing").glob("*.py"))


def module_of(path: Path) -> ModuleType:
    """Import one of the checked files."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mypy_if_installed() -> list[Any]:
    """``mypy.api``, in a list, or an empty list: mypy is no requirement of the tests."""
    found = importlib.util.find_spec("mypy") is not None
    return [importlib.import_module(name) for name in ["mypy.api"] * found]


def test_the_types_are_shipped() -> None:
    """R30: ``py.typed`` stands in the package, and each of its folders that holds modules is a package itself."""
    package = files("trioworkers")
    assert (package / "py.typed").is_file()
    folders = {path.parent for path in Path(str(package)).rglob("*.py")}
    assert len(folders) > 5
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_public_names_say_where_they_come_from() -> None:
    """R30: every public name is re-exported from a module of the package, so that type checkers see it as public."""
    everything = {name: getattr(trioworkers, name) for name in dir(trioworkers) if not name.startswith("_")}
    public = {name: value for name, value in everything.items() if not isinstance(value, ModuleType)}
    del public["annotations"]
    assert "BaseWorker" in public
    homes = {name: getattr(value, "__module__", "trioworkers") for name, value in public.items()}
    assert [name for name, home in homes.items() if not home.startswith("trioworkers")] == []


@pytest.mark.slow
def test_a_users_worker_type_checks() -> None:
    """R30: a user's worker, fully typed, passes mypy's strict mode with the types asserted there, and mistakes are found."""
    assert [path.stem for path in CHECKED] == ["typed_mistakes", "typed_worker"]
    arguments = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--no-error-summary", *map(str, CHECKED)]
    reports = [mypy.run(arguments) for mypy in mypy_if_installed()]
    assert [report for report in reports if report != ("", "", 0)] == []


async def test_a_users_worker_runs(autojump_clock: trio.testing.MockClock) -> None:
    """What the type checker was told is what happens: the same worker runs, and gives out what its types say."""
    (path,) = (path for path in CHECKED if path.stem == "typed_worker")
    stream = ["stream_start", "stream_data", "stream_data", "stream_data", "stream_end", "writer", "reader"]
    assert await module_of(path).main() == [
        *stream,
        *stream,
        "writer heard of x",
        "writer",
        "250 cents",
        "250 cents",
        "reader",
        "reader",
    ]


def test_mistakes_are_found_at_run_time_too() -> None:
    """What a type checker would refuse is refused when the class is made."""
    (path,) = (path for path in CHECKED if path.stem == "typed_mistakes")
    with pytest.raises(TypeError, match="a job's name must be a str, not 5"):
        module_of(path)
