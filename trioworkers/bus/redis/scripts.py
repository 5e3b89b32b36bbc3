"""What the server does in one step: its book of members and names, as Lua.

For Redis 6.2 or later, or Valkey. Every script has the same four keys, and the prefix of the bus as its first argument, from which it
makes the keys of inboxes; all carry one hash tag, so they live on one node. There is one clock, the server's::

    tw:{bus}:members   ZSET    incarnation -> when it was last heard of (ms)
    tw:{bus}:state     HASH    epoch       a token that is lost when the server loses what it knew
                               generation  goes up by one with every change of the members
                               ttl         for how many ms of silence one stays a member
                               swept       when somebody last looked for silent members (ms)
                               grace       when all leases were last begun anew (ms)
                               protocol    what the members speak
    tw:{bus}:names     HASH    name -> incarnation
    tw:{bus}:news      STREAM  one empty entry for every change: it wakes those who read it
    tw:{bus}:<incarnation>:hi, :lo  STREAM  an inbox; it is there from joining to removal

**Sweeping.** Every beat, and everyone who would like to join, sweeps: whoever was silent for longer than ``ttl`` is removed. That is
right as long as somebody sweeps all the time. If nobody has for ``ttl / 2``, the server was down, or everybody slept, and silence
proves nothing: then all leases begin anew. That moves ``grace`` and no score: a score that moves is a sign of life, and of nothing
else.

**A user for a bus** needs these commands on ``~tw:{bus}:*``, and no others: ``+ping +select +eval +evalsha +time +zadd +zrem +zscore
+zcard +zrange +zrangebyscore +hget +hset +hdel +hgetall +hincrby +xadd +xread +xtrim +exists +unlink +pexpire``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import attrs

from .line import RedisLine
from .replies import Argument, RedisReplyError, Reply

_SHARED: Final = """
local members, state, names, news, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function noted(field)
  return tonumber(redis.call('HGET', state, field) or 0)
end

local function is_member(incarnation)
  return redis.call('ZSCORE', members, incarnation)
end

-- Wake everybody; return the id of the entry that does.
local function announce()
  redis.call('HINCRBY', state, 'generation', 1)
  return redis.call('XADD', news, 'MAXLEN', '~', 64, '*', 'f', '')
end

-- The one way out: membership, names and inboxes go together.
local function remove(incarnation)
  if redis.call('ZREM', members, incarnation) == 0 then
    return false
  end
  local held = redis.call('HGETALL', names)
  for i = 1, #held, 2 do
    if held[i + 1] == incarnation then
      redis.call('HDEL', names, held[i])
    end
  end
  redis.call('UNLINK', prefix .. incarnation .. ':hi', prefix .. incarnation .. ':lo')
  announce()
  return true
end

-- Remove who was silent for too long, or begin all leases anew if nobody has looked for a while.
local function sweep()
  local ttl, swept = noted('ttl'), noted('swept')
  if swept > now then -- the clock was set back: nobody was heard of in the future
    for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', members, '(' .. now, '+inf')) do
      redis.call('ZADD', members, now, incarnation)
    end
  end
  if swept > now or now - swept > ttl / 2 then
    redis.call('HSET', state, 'grace', now)
  elseif now - noted('grace') > ttl then
    for _, incarnation in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', '(' .. (now - ttl))) do
      remove(incarnation)
    end
  end
  redis.call('HSET', state, 'swept', now)
end

-- Who else holds a name, and when that one was last heard of.
local function taken(name, incarnation)
  local owner = redis.call('HGET', names, name)
  local heard = owner and owner ~= incarnation and is_member(owner)
  return heard and {'taken', name, owner, heard}
end
"""

_JOIN: Final = """
-- Become a member, with an empty inbox and some names; or, if that cannot be, change nothing but to remove `replaces`.
local incarnation, token, protocol, replaces = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ttl, keep = tonumber(ARGV[6]), ARGV[7]
if not redis.call('HGET', state, 'epoch') then
  redis.call('HSET', state, 'epoch', token)
end
sweep()
remove(replaces)
if redis.call('ZCARD', members) > 0 then
  local spoken = redis.call('HGET', state, 'protocol')
  if spoken ~= protocol then
    return {'protocol', spoken}
  end
  ttl = math.max(ttl, noted('ttl')) -- nobody is removed sooner than it expects
end
for i = 8, #ARGV do
  local refusal = taken(ARGV[i], incarnation)
  if refusal then
    return refusal
  end
end
for _, inbox in ipairs({prefix .. incarnation .. ':hi', prefix .. incarnation .. ':lo'}) do
  if redis.call('EXISTS', inbox) == 0 then
    redis.call('XADD', inbox, 'MAXLEN', 0, '*', 'f', '')
  end
  redis.call('PEXPIRE', inbox, keep)
end
redis.call('HSET', state, 'protocol', protocol, 'ttl', ttl)
redis.call('ZADD', members, now, incarnation)
for i = 8, #ARGV do
  redis.call('HSET', names, ARGV[i], incarnation)
end
local last = announce()
local present = redis.call('ZRANGE', members, 0, -1)
return {'joined', redis.call('HGET', state, 'epoch'), noted('generation'), last, present}
"""

_BEAT: Final = """
-- Say that one is alive, and sweep; tell who is no member that it is none.
local incarnation, epoch, keep = ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', state, 'epoch') ~= epoch then
  return {'reset'}
end
if not is_member(incarnation) then
  return {'fenced'}
end
redis.call('ZADD', members, now, incarnation)
for _, inbox in ipairs({prefix .. incarnation .. ':hi', prefix .. incarnation .. ':lo'}) do
  if redis.call('PEXPIRE', inbox, keep) == 0 then -- what others have written into it is lost
    remove(incarnation)
    return {'reset'}
  end
end
sweep()
return {'member', noted('generation')}
"""

_CLAIM: Final = """
-- Hold a name that nobody else holds.
local incarnation, name = ARGV[2], ARGV[3]
if not is_member(incarnation) then
  return {'fenced'}
end
local refusal = taken(name, incarnation)
if refusal then
  return refusal
end
redis.call('HSET', names, name, incarnation)
return {'held'}
"""

_RELEASE: Final = """
-- Give back those of some names that one holds.
local incarnation = ARGV[2]
for i = 3, #ARGV do
  if redis.call('HGET', names, ARGV[i]) == incarnation then
    redis.call('HDEL', names, ARGV[i])
  end
end
return {'released'}
"""

_LEAVE: Final = """
-- Be a member no more.
remove(ARGV[2])
return {'left'}
"""


@attrs.frozen
class Script:
    """A script, called by its hash; sent as a whole when the server does not know it (yet, or any more).

    Args:
        text: Lua.
    """

    text: str
    digest: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    async def run(self, line: RedisLine, keys: Sequence[str], args: Sequence[Argument]) -> Reply:
        """Run it.

        Raises:
            RedisReplyError: The server will not, or cannot.
            LineLost: The line is lost.
        """
        rest = (len(keys), *keys, *args)
        try:
            return await line.execute("EVALSHA", self.digest, *rest)
        except RedisReplyError as error:
            if error.code != "NOSCRIPT":
                raise
        return await line.execute("EVAL", self.text, *rest)


JOIN: Final = Script(_SHARED + _JOIN)
BEAT: Final = Script(_SHARED + _BEAT)
CLAIM: Final = Script(_SHARED + _CLAIM)
RELEASE: Final = Script(_SHARED + _RELEASE)
LEAVE: Final = Script(_SHARED + _LEAVE)
