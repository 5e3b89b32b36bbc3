"""Every Python block of the pages is a whole program, and prints what the page says it prints."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import attrs
import pytest
import trio
from redis_support import RedisServer
from sybil import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

SERVER = "redis://localhost"
"""Where the pages say that a Redis server is; a program that names it is given one of the test's own."""

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@attrs.frozen
class Program:
    """One block of a page.

    Args:
        page: Where it stands, from the root of the checkout.
        line: Its first line there.
        source: The program.
        prints: What the block right below it says that it prints.
    """

    page: str
    line: int
    source: str
    prints: str

    def __str__(self) -> str:
        """The test's id: what an editor needs to jump there."""
        return f"{self.page}:{self.line}"


def programs(name: str, text: str) -> Iterator[Program]:
    """Find the Python blocks of a page, each with the text block that follows it with nothing between."""
    blocks = sorted(FencedCodeBlockLexer("python|text")(Document(text, name)), key=lambda block: block.start)
    for block, following in zip_longest(blocks, blocks[1:]):
        if block.lexemes["language"] == "python":
            prints = ""
            if following is not None and following.lexemes["language"] == "text" and not text[block.end : following.start].strip():
                prints = str(following.lexemes["source"])
            yield Program(name, text.count("\n", 0, block.start) + 2, str(block.lexemes["source"]), prints)


ALL = [program for page in PAGES for program in programs(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))]


@pytest.fixture
def server(program: Program, tmp_path: Path) -> Iterator[str]:
    """Where the program's server is, if it needs one; the test is skipped where there is no Redis."""
    if SERVER not in program.source:
        yield SERVER
        return
    redis = RedisServer(tmp_path)
    trio.run(redis.start)
    yield f"redis://127.0.0.1:{redis.port}"
    trio.run(redis.kill)


@pytest.mark.parametrize("program", ALL, ids=str)
def test_a_block_prints_what_the_page_says(program: Program, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each Python block of the pages runs by itself, and prints exactly the text block below it."""
    file = tmp_path / "program.py"
    file.write_text("\n" * (program.line - 1) + program.source.replace(SERVER, server), encoding="utf-8")
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out == program.prints


@pytest.mark.parametrize("program", ALL, ids=str)
def test_a_block_is_a_program(program: Program) -> None:
    """Each Python block of the pages can be pasted into a file and run: it starts trio itself, or has it simulated."""
    assert "trio.run(" in program.source or "trioworkers.testing" in program.source


def test_blocks_are_found_with_their_lines_and_their_output() -> None:
    """A Python block is paired with the text block below it, and with no other."""
    python, text = "```python\n{}\n```\n".format, "```text\n{}\n```\n".format
    page = "\n".join(["# A page", python("a"), text("b"), text("c"), python("d") + "words", text("e"), python("f")])
    assert list(programs("page", page)) == [
        Program("page", 3, "a\n", "b\n"),
        Program("page", 15, "d\n", ""),
        Program("page", 23, "f\n", ""),
    ]
