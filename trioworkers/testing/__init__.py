"""Tools to test concurrent systems, with workers or without.

=======================  ========================================================================================================
:func:`simulate`         one run of a trio program under one schedule, in virtual time; the same seed gives the same run
:func:`explore`          a test under many schedules; a failing one is shrunk and explained
:class:`World`           a trio program that is stepped from synchronous code
:func:`check_system`     many clients at once do things to a :class:`System`; what fails is shrunk: operations and schedule
:func:`check_lifecycle`  the same for workers, whose promises are watched by :class:`Promises`
:class:`FaultPlan`       what goes wrong between nodes, as a value; on a :class:`SimNetwork`, or on any link of a trio program
=======================  ========================================================================================================

What needs Hypothesis is in :mod:`trioworkers.testing.hypothesis`.
"""

from ._carrier import Crossing as Crossing
from ._scheduler import Step as Step
from ._scheduler import Switch as Switch
from ._where import Place as Place
from .check import Broken as Broken
from .check import Course as Course
from .check import Plan as Plan
from .check import Verdict as Verdict
from .check import check_system as check_system
from .errors import DeadlockError as DeadlockError
from .errors import LivelockError as LivelockError
from .errors import NondeterminismError as NondeterminismError
from .errors import ReplayError as ReplayError
from .errors import VacuousError as VacuousError
from .explore import Exploration as Exploration
from .explore import Failure as Failure
from .explore import Settings as Settings
from .explore import explore as explore
from .explore import search as search
from .faults import Burst as Burst
from .faults import Crash as Crash
from .faults import Delay as Delay
from .faults import DelayJob as DelayJob
from .faults import Drop as Drop
from .faults import DropJob as DropJob
from .faults import Duplicate as Duplicate
from .faults import DuplicateJob as DuplicateJob
from .faults import Fault as Fault
from .faults import FaultPlan as FaultPlan
from .faults import Link as Link
from .faults import Partition as Partition
from .faults import Slow as Slow
from .lifecycle import LifecycleSystem as LifecycleSystem
from .lifecycle import PlantedError as PlantedError
from .lifecycle import Puppet as Puppet
from .lifecycle import check_lifecycle as check_lifecycle
from .lifecycle import puppet_theatre as puppet_theatre
from .network import SimNetwork as SimNetwork
from .promises import BrokenPromiseError as BrokenPromiseError
from .promises import Promises as Promises
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
from .system import LeakError as LeakError
from .system import Operation as Operation
from .system import System as System
from .system import operation as operation
from .world import Handle as Handle
from .world import World as World
