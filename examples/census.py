"""A census of a source tree: the small, complete program that ships as ``python -m trioworkers demo``.

This script only runs it. To read it, open ``trioworkers/cli/census``: first ``workers.py`` (a root worker owns a pool of readers,
files go out as jobs, results stream back with backpressure, a file that cannot be read is a failed job), then ``app.py`` (the plain
trio code around it; Ctrl-C drains, and the report tells what was counted so far). The rest there knows nothing of workers.

Run it::

    python examples/census.py                      # the standard library of this Python
    python examples/census.py ~/src --readers 8    # any directory
"""

from __future__ import annotations

import sys

from trioworkers.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["demo", *sys.argv[1:]]))
