"""What the pages claim can be checked: names are there, promises and faults have tests, pictures show their tables."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import trioworkers
from trioworkers import BaseWorker, WorkerRunner, _transitions

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
COUNTS = {"L": 6, "J": 7, "B": 5, "R": 2, "C": 1, "N": 8}
PROMISES = [f"{letter}{number + 1}" for letter, count in COUNTS.items() for number in range(count)]
ASKED_FOR = re.compile(r"\{tests\}`([^`]+)`")

drawing = runpy.run_path(str(DOCS / "_ext" / "drawing.py"))
promises = runpy.run_path(str(DOCS / "_ext" / "promises.py"))
draw: Callable[[str, Mapping[tuple[Any, str], StrEnum]], str] = drawing["draw"]
PROOFS: dict[str, list[str]] = promises["proofs"](ROOT / "tests")


def read(page: str) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def asked_for(page: str) -> list[str]:
    """Return the ids whose tests a page wants to name."""
    return [promise.strip() for text in ASKED_FOR.findall(read(page)) for promise in text.split(",")]


def public_names(cls: type) -> list[str]:
    """Return what a class offers, inherited things included."""
    return [name for name in dir(cls) if not name.startswith("_")]


# -- promises and faults -------------------------------------------------------------------------------------------------


def test_the_page_of_guarantees_has_every_promise() -> None:
    """Each promise has a heading on the page of guarantees, and asks for its tests."""
    headings = re.findall(r"^### (\w+): ", read("docs/guarantees.md"), re.MULTILINE)
    assert headings == PROMISES
    assert asked_for("docs/guarantees.md") == PROMISES


@pytest.mark.parametrize("promise", asked_for("docs/guarantees.md"))
def test_a_promise_is_proved(promise: str) -> None:
    """Each promise on the page of guarantees is named by the docstring of a test."""
    assert PROOFS.get(promise, []) != []


@pytest.mark.parametrize("fault", asked_for("docs/faults.md"))
def test_a_fault_is_shown_not_to_happen(fault: str) -> None:
    """Each fault on the page of faults is named by the docstring of a test."""
    assert PROOFS.get(fault, []) != []


def test_the_page_of_faults_accounts_for_every_fault() -> None:
    """No fault is left out: each has one row."""
    rows = re.findall(r"^\| ([UR]\d+) \|", read("docs/faults.md"), re.MULTILINE)
    assert sorted(rows) == sorted([*(f"U{n}" for n in range(1, 62)), *(f"R{n}" for n in range(1, 31))])


SOURCE = """
'''B1: order.'''

class TestOne:
    '''J1.'''

    async def test_two(self):
        '''J1, U17 (and J1): x.'''
        print("J9")
"""


def test_ids_are_found_in_docstrings(tmp_path: Path) -> None:
    """The ids come from the docstrings of modules, classes and functions, each once, and from nowhere else."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_it.py").write_text(SOURCE, encoding="utf-8")
    assert promises["proofs"](folder) == {
        "B1": ["tests/test_it.py"],
        "J1": ["tests/test_it.py::TestOne", "tests/test_it.py::TestOne::test_two"],
        "U17": ["tests/test_it.py::TestOne::test_two"],
    }


# -- names ---------------------------------------------------------------------------------------------------------------


def test_the_api_page_has_every_public_name() -> None:
    """What `trioworkers` exports is on the API page, and nothing else is."""
    listed = re.findall(r"^\.\. auto(?:class|function|exception|data):: trioworkers\.(\w+)", read("docs/api.md"), re.MULTILINE)
    names = [name for name in dir(trioworkers) if not name.startswith("_") and name != "annotations"]
    exported = [name for name in names if not isinstance(getattr(trioworkers, name), ModuleType)]
    assert sorted(listed) == sorted(exported)


@pytest.mark.parametrize("name", sorted({name.removesuffix("_nowait") for name in public_names(BaseWorker)}))
def test_the_page_of_migration_has_every_name_of_a_worker(name: str) -> None:
    """Each method, property and hook of a worker is on the page for those who come from the reference (sync twins as one)."""
    assert re.search(rf"`{name}\b", read("docs/migration.md"))


@pytest.mark.parametrize("name", [name for name in dir(trioworkers) if name.startswith("Bus") and name.endswith("Message")])
def test_the_page_of_migration_has_every_message(name: str) -> None:
    """Each class of messages is on the page for those who come from the reference."""
    assert f"`{name}`" in read("docs/migration.md")


def test_a_runner_offers_what_its_users_know_from_a_worker() -> None:
    """A runner's verbs that a worker has too are called the same."""
    assert {"add_workers", "run", "end", "cancel", "job", "job_group", "request_job", "end_workers"} <= set(public_names(WorkerRunner))


# -- pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", drawing["LAYOUTS"])
def test_a_picture_shows_its_table(name: str) -> None:
    """Each step of a lifecycle is an arrow in its picture, with its event written at it; each state is a box; there is no more."""
    table = getattr(_transitions, name)
    picture = ET.fromstring(draw(name, table))  # noqa: S314 - our own
    arrows = picture.findall("{*}g[@class='arrow']")
    labels = [arrow.findtext("{*}text") for arrow in arrows]
    boxes = [box.findtext("{*}text") for box in picture.findall("{*}g[@class='state']")]
    steps = {(arrow.get("data-from"), arrow.get("data-event")): arrow.get("data-to") for arrow in arrows}
    assert steps == {(str(state), event): str(follower) for (state, event), follower in table.items()}
    assert sorted(map(str, labels)) == sorted(event for _, event in table)
    assert sorted(map(str, boxes)) == sorted({str(state).upper() for (state, _), other in table.items() for state in (state, other)})


def test_every_table_has_its_picture_on_the_page_of_the_design() -> None:
    """The page of the design draws each table there is."""
    tables = [name for name, value in vars(_transitions).items() if name.isupper() and isinstance(value, Mapping)]
    drawn = re.findall(r"```\{lifecycle\} (\w+)", read("docs/explain/design.md"))
    assert sorted(drawn) == sorted(tables) == sorted(drawing["LAYOUTS"])


def test_a_state_without_a_place_is_an_error() -> None:
    """A table that has outgrown its layout is not drawn."""
    with pytest.raises(ValueError, match="the layout of REQUEST does not fit its table: \\['lost'\\]"):
        draw("REQUEST", {**_transitions.REQUEST, (_transitions.RequestState.ASKED, "lose"): _Lost.LOST})


class _Lost(StrEnum):
    LOST = "lost"


# -- links and fragments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    """What the top-level pages link to is in the checkout."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", read(page)) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_two_commands_of_the_readme_can_be_run() -> None:
    """The commands on the first screen are the install with the demo, and the tests; what they name is there."""
    (block,) = re.findall(r"```sh\n(.*?)```", read("README.md"), re.DOTALL)
    commands = [line.partition("#")[0].strip() for line in block.splitlines()]
    assert commands == ["pip install . && python -m trioworkers demo", "pip install -e '.[test]' && python -m pytest"]
    assert find_spec("trioworkers.__main__") is not None
    assert "test" in tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]


def test_fragments_of_the_changelog_are_of_a_known_kind() -> None:
    """Each file in `changelog.d` will be found by towncrier, and is one sentence."""
    project = tomllib.loads(read("pyproject.toml"))
    kinds = {kind["directory"] for kind in project["tool"]["towncrier"]["type"]}
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.suffix == ".md"]
    assert [path.name for path in fragments if path.name.split(".")[-2] not in kinds] == []
    assert [path.name for path in fragments if not path.read_text(encoding="utf-8").endswith(".\n")] == []


def test_the_changelog_can_grow() -> None:
    """The changelog has the mark below which towncrier writes."""
    project = tomllib.loads(read("pyproject.toml"))
    assert project["tool"]["towncrier"]["start_string"] in read("CHANGELOG.md")
