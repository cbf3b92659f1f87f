"""The Lua scripts of the Redis sink, and the texts they compare.

Redis runs a script as a whole or, where its memory is full, not at all: the rows of a batch and its token are written
together. What a script writes is also stored in the append-only file and sent to replicas as one transaction.

Each script first compares the token: its first key is where that is, its first argument the token that this sink knows
(`+TOKEN`; empty for none).
"""

from __future__ import annotations

import struct
from typing import Any

from headwater.connectors.rows import UTC

# Begins every script. It answers the token that is there if it is not the known one.
_REQUIRE_OWN = """
local found = redis.call('GET', KEYS[1])
found = found and '+' .. found or ''
if found ~= ARGV[1] then return {'other', found} end
"""

# KEYS: the token's, the counter's, then of each row its own and that of its delete marker.
# ARGV: the known token, the token, the seconds that rows and that markers are kept (0: for ever), `numbered` if each
# row gets a number as its key, then for each row: its version, and the number of fields and values that follow. A row
# without any is a delete. Without a version the row replaces what is there.
WRITE = (
    """
local there = redis.call('GET', KEYS[1])
if there == ARGV[2] then return {'done'} end
"""
    + _REQUIRE_OWN
    + """
local wrong = {'wrong'}
for row = 3, #KEYS, 2 do
  local kind = redis.call('TYPE', KEYS[row]).ok
  if kind ~= 'none' and kind ~= 'hash' then
    wrong[#wrong + 1] = (row - 3) / 2
    wrong[#wrong + 1] = kind
  end
end
if #wrong > 1 then return wrong end
-- The first write: where the memory is full it is refused, and later ones would not be.
redis.call('SET', KEYS[1], ARGV[2])
local rows_kept, markers_kept = tonumber(ARGV[3]), tonumber(ARGV[4])
local at = 6
for row = 3, #KEYS, 2 do
  local key, marker, version, count = KEYS[row], KEYS[row + 1], ARGV[at], tonumber(ARGV[at + 1])
  local is_newer = true
  if version ~= '' then
    local present = redis.call('HGET', key, '_version') or redis.call('GET', marker)
    is_newer = not present or version >= present
  end
  if is_newer then
    if ARGV[5] == 'numbered' then key = key .. redis.call('INCR', KEYS[2]) end
    redis.call('DEL', key, marker)
    if count > 0 then
      for first = at + 2, at + 1 + count, 1000 do
        redis.call('HSET', key, unpack(ARGV, first, math.min(first + 999, at + 1 + count)))
      end
      if rows_kept > 0 then redis.call('EXPIRE', key, rows_kept) end
    elseif version ~= '' then
      redis.call('SET', marker, version)
      if markers_kept > 0 then redis.call('EXPIRE', marker, markers_kept) end
    end
  end
  at = at + 2 + count
end
return {'done'}
"""
)

# KEYS: the token's, those to delete after it (a number of them), then those of the rows.
# ARGV: the known token, how many keys are deleted, then the new name of each row.
SET_ASIDE = (
    _REQUIRE_OWN
    + """
local deleted = tonumber(ARGV[2])
for at = 2, 1 + deleted do redis.call('DEL', KEYS[at]) end
redis.call('DEL', KEYS[1])
for at = 2 + deleted, #KEYS do
  if redis.call('EXISTS', KEYS[at]) == 1 then redis.call('RENAME', KEYS[at], ARGV[at + 1 - deleted]) end
end
return {'done'}
"""
)


def sortable(version: Any) -> str:
    """A text of hexadecimal digits for a version; of two versions of one type the newer one has the greater text.

    Lua has only floats, and compares texts as the language of the server does, which agrees for such digits.
    """
    if isinstance(version, str):
        return version.rstrip(UTC).encode().hex() or "0"
    if isinstance(version, float):
        (bits,) = struct.unpack(">q", struct.pack(">d", version))
        return f"{bits + 2**63 if bits >= 0 else ~bits:016x}"
    return f"{int(version) + 2**63:016x}"
