"""A census of a source tree: a small, complete program on trioworkers, to be read.

::

    census             a root worker: hands out files, passes on what comes back
      reader-1         its children: each reads one file at a time
      reader-2
      ...

Files go out as *jobs*, one per file; a file that cannot be read or decoded is a FAILED job, and nothing else happens. The census is
itself a job, asked for by plain trio code, and what the readers found comes back as its *stream*. Every step of that waits for the
next: while the terminal is slow nothing new is read, and memory stays bounded however large the tree is. Ctrl-C *ends* the workers:
no further file goes out, those being read are finished, and the report tells what was counted so far.

Read `workers` first (the two workers), then `app` (the code around them). The rest knows nothing of workers: `files` and `count` (what
there is, what one file holds), `tally` (the sums), `progress` and `report` (text).
"""

from __future__ import annotations

from .app import run as run
