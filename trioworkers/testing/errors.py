"""What a simulated program can do wrong, besides failing."""

from __future__ import annotations


class DeadlockError(AssertionError):
    """Nothing can ever run again, and something was still expected. The text is the task tree, with the line each task waits at."""


class LivelockError(AssertionError):
    """It runs and runs, and gets nowhere: step after step without a rest."""


class NondeterminismError(AssertionError):
    """The program asked for what no seed decides: a thread, a socket, the machine's entropy; or two equal runs differed."""


class ReplayError(ValueError):
    """A replay token is no token, or is of another version."""


class VacuousError(AssertionError):
    """A check has passed without having looked at what it is for."""
