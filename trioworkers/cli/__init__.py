"""The command line: ``python -m trioworkers``, or ``trioworkers`` once it is installed.

This file reads the arguments. What ``demo`` does is in :mod:`trioworkers.cli.census`, the example to read first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

READERS = 4
MOST_READERS = 999


class _UsageError(Exception):
    """Arguments that make no sense; its text is the one line that the user gets."""


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises, instead of printing a block of usage."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message} (try '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 2 for bad arguments, 130 after Ctrl-C.

    Args:
        argv: The arguments, without the program's name; those of the process if left out.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
    except _UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    if arguments.version:
        print(_version())
    elif arguments.command == "demo":
        return _demo(arguments.path, arguments.readers)
    else:
        parser.print_help()
    return 0


def _parser() -> _Parser:
    parser = _Parser(
        prog="trioworkers",
        allow_abbrev=False,
        description="Workers for trio: named actors in nurseries, one bus, and jobs that always end.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        allow_abbrev=False,
        help="take a census of a source tree",
        description="Count the files, lines, functions and imports below a directory, with a pool of reader workers. "
        "Hidden directories, __pycache__, node_modules and site-packages are left out. Ctrl-C prints what was counted so far.",
    )
    demo.add_argument("path", metavar="PATH", nargs="?", type=_directory, help="a directory (default: Python's standard library)")
    demo.add_argument("--readers", metavar="N", type=_readers, default=READERS, help="how many readers (default: %(default)s)")
    return parser


def _directory(text: str) -> str:
    try:
        with os.scandir(text):
            return text
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot list {text!r}: {getattr(error, 'strerror', error)}") from None


def _readers(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= len(str(MOST_READERS)) else 0
    if not 1 <= number <= MOST_READERS:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_READERS}, not {text!r}")
    return number


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 - only --version needs it

    try:
        return f"trioworkers {metadata.version('trioworkers')}"
    except metadata.PackageNotFoundError:
        return "trioworkers, from a source tree that is not installed"


def _demo(path: str | None, readers: int) -> int:
    import sysconfig  # noqa: PLC0415 - only the demo needs it

    from .census import run  # noqa: PLC0415 - trio is imported when it is needed

    return run(path or sysconfig.get_paths()["stdlib"], readers)
