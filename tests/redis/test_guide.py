"""The two terminals of the guide: its files, started as it says, print what it says."""

from __future__ import annotations

import re
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from redis_support import RedisServer, program_running, until

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "redis.md"
FILES = re.compile(r"^```\{code-block\} python\n:caption: (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"^```sh\npython (\S+)\n```\n(?:(?!^```).)*?^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 60.0


def promised() -> dict[str, str]:
    """Return what each program prints, as the guide says it."""
    found = dict(PRINTS.findall(GUIDE.read_text(encoding="utf-8").partition("## Who is there")[0]))
    return {name: found[name] for name in ("till.py", "audit.py")}


@pytest.fixture
def folder(redis_server: RedisServer, tmp_path: Path) -> Path:
    """The folder of the guide, with its files; the server is not at its usual port."""
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, source in FILES.findall(GUIDE.read_text(encoding="utf-8")):
        server = f"redis://127.0.0.1:{redis_server.port}"
        (folder / name).write_text(source.replace("redis://localhost", server), encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["audit.py", "stock.py", "till.py"]
    return folder


def terminal(folder: Path, name: str) -> AbstractAsyncContextManager[trio.Process]:
    """A terminal in which one of the programs was started; what it prints goes to a file beside it."""
    return program_running(folder / f"{name}.out", sys.executable, "-u", "-W", "error", name, cwd=folder)


def printed(folder: Path, name: str) -> str:
    """Return what a program has printed so far."""
    return (folder / f"{name}.out").read_text(encoding="utf-8")


@pytest.mark.parametrize("first", ["stock.py", "till.py"])
async def test_two_terminals(folder: Path, first: str) -> None:
    """N6: the till gets its answer from the stock, whichever was started first; Ctrl-C ends the stock, and it has printed nothing."""
    second = "till.py" if first == "stock.py" else "stock.py"
    with trio.fail_after(LONGEST):
        async with terminal(folder, first) as one, terminal(folder, second) as other:
            till, stock = (one, other) if first == "till.py" else (other, one)
            assert await till.wait() == 0, printed(folder, "till.py")
            stock.send_signal(signal.SIGINT)
            assert await stock.wait() == 0, printed(folder, "stock.py")
    assert (printed(folder, "till.py"), printed(folder, "stock.py")) == (promised()["till.py"], "")


async def test_the_stock_is_killed(folder: Path) -> None:
    """N2: a job that takes an hour ends as lost when whoever does it is killed."""
    with trio.fail_after(LONGEST):
        async with terminal(folder, "stock.py") as stock, terminal(folder, "audit.py") as audit:
            await until(lambda: printed(folder, "audit.py"), "the first line")
            stock.kill()
            assert await audit.wait() == 0, printed(folder, "audit.py")
    assert printed(folder, "audit.py") == promised()["audit.py"]
