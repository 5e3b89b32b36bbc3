"""Work: asking for jobs, answering them, and the blocks that hold both ends together."""

from __future__ import annotations

from .block import JobContext as JobContext
from .block import JobGroupContext as JobGroupContext
from .chain import CHAIN as CHAIN
from .group import JobGroup as JobGroup
from .requester import JobRequester as JobRequester
from .requester import Request as Request
from .requester import RequesterStatistics as RequesterStatistics
from .responder import DEFERRED as DEFERRED
from .responder import JobResponder as JobResponder
from .responder import ResponderStatistics as ResponderStatistics
from .responder import handlers_of as handlers_of
from .slots import Pool as Pool
