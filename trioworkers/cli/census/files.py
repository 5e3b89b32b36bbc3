"""Which files there are below a directory, and their bytes. Plain blocking code: it is run in threads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
LARGEST = 64 * 1024 * 1024


def files_below(root: str) -> list[str]:
    """Return the paths of all files below ``root``, relative to it, sorted.

    Hidden directories and those in :data:`LEFT_OUT` are not entered, symbolic links to directories not followed. A directory that
    cannot be listed is in the list itself: whoever tries to read it will see why.
    """
    found: list[Path] = []
    for directory, names, files in os.walk(root, onerror=lambda error: found.append(Path(error.filename))):
        names[:] = [name for name in names if not (name.startswith(".") or name in LEFT_OUT)]
        found.extend(Path(directory, name) for name in files)
    return sorted(str(path.relative_to(root)) for path in found)


def read_file(path: str) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: It cannot be read; or it should not be: it is larger than :data:`LARGEST`, or a pipe or a device, which may never end.
    """
    status = Path(path).stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise OSError("neither a file nor a directory")
    if status.st_size > LARGEST:
        raise OSError(f"larger than {LARGEST:,} bytes")
    return Path(path).read_bytes()
