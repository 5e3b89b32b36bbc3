"""Tools to test concurrent systems, with workers or without.

=====================  ==========================================================================================================
:func:`simulate`       one run of a trio program under one schedule, in virtual time; the same seed gives the same run
:func:`explore`        a test under many schedules; a failing one is shrunk and explained
:class:`World`         a trio program that is stepped from synchronous code
=====================  ==========================================================================================================

What needs Hypothesis is in :mod:`trioworkers.testing.hypothesis`.
"""

from .errors import DeadlockError as DeadlockError
from .errors import LivelockError as LivelockError
from .errors import NondeterminismError as NondeterminismError
from .errors import ReplayError as ReplayError
from .explore import Exploration as Exploration
from .explore import Failure as Failure
from .explore import Settings as Settings
from .explore import explore as explore
from .explore import search as search
from .schedule import Hold as Hold
from .schedule import Schedule as Schedule
from .simulate import SimResult as SimResult
from .simulate import simulate as simulate
from .strategies import Follow as Follow
from .strategies import Pct as Pct
from .strategies import Plain as Plain
from .strategies import Pos as Pos
from .strategies import Strand as Strand
from .strategies import Strategy as Strategy
from .strategies import Uniform as Uniform
from .world import Handle as Handle
from .world import World as World
