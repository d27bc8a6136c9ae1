//! The steps of the fleet as scripts: the server runs each of them whole.
//!
//! Arguments 1 and 2 are always the prefix of names and the command that publishes. Generations stay text: a number would
//! lose its digits. Every key has an end; the owner renews it (`announce`).
//!
//! | key | holds |
//! |---|---|
//! | `signaling:peer:<peer_id>` | `g` generation, `n` node (empty while away), `i` identity, `t` digest of the token, `s` session, `u` away until, `m` keeps mail, `b` bytes of mail, `o` who owes leftovers |
//! | `signaling:connections:<generation>` | the peer, its node, and since when |
//! | `signaling:sessions:<session_id>` | its peers, each with its node (empty while away) |
//! | `signaling:mailbox:<peer_id>` | what waits for a peer |
//! | `signaling:node:<node>` | the peers of a node |
//! | `signaling:endings:<session_id>` | how often somebody was put out |
//! | `signaling:nodes`, `signaling:away`, `signaling:active`, `signaling:generation` | nodes by their last sign of life, who is away until when, sessions with peers, the last generation |

/// What every script starts with.
macro_rules! script {
    ($($code:expr),+ $(,)?) => {
        concat!(
            "--!df flags=allow-undeclared-keys\n",
            r#"
local prefix, pub = ARGV[1], ARGV[2]
local TTL = 120
local function key(kind, name) return prefix .. 'signaling:' .. kind .. ':' .. name end
local function one(kind) return prefix .. 'signaling:' .. kind end
local json = cjson.encode
local function time()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end
local function tell(node, event) return redis.call(pub, key('events', node), event) end
local function get(peer)
  local f = redis.call('HMGET', key('peer', peer), 'g', 'n', 'i', 't', 's', 'u', 'm', 'o', 'b')
  if not f[1] then return nil end
  return { g = f[1], n = f[2] or '', i = f[3] or '', t = f[4] or '', s = f[5] or '', u = tonumber(f[6] or '0'),
           m = f[7] == '1', o = f[8] or '', b = tonumber(f[9] or '0') }
end
local function tell_session(sid, except, event)
  local told = {}
  for _, node in ipairs(redis.call('HVALS', key('sessions', sid))) do
    if node ~= '' and node ~= except and not told[node] then
      told[node] = true
      tell(node, event)
    end
  end
  return told
end
local function left(sid, peer, g, evicted)
  return '{"Left":{"session_id":' .. json(sid) .. ',"peer_id":' .. json(peer) .. ',"generation":' .. g
    .. ',"evicted":' .. tostring(evicted) .. '}}'
end
local function leave(peer, p, evicted)
  local sid = p.s
  if sid == '' then return nil end
  redis.call('HSET', key('peer', peer), 's', '')
  redis.call('HDEL', key('sessions', sid), peer)
  p.s = ''
  local event = left(sid, peer, p.g, evicted)
  tell_session(sid, p.n, event)
  if p.n ~= '' then tell(p.n, event) end
  if redis.call('EXISTS', key('sessions', sid)) == 0 then redis.call('SREM', one('active'), sid) end
  return sid
end
local function remaining(sid) return redis.call('HKEYS', key('sessions', sid)) end
local function detach(peer, p)
  if p.n ~= '' then redis.call('SREM', key('node', p.n), peer) end
  redis.call('DEL', key('connections', p.g))
end
local function forget(peer, p)
  local sid = leave(peer, p, false)
  local mail = {}
  if p.m or p.b > 0 then mail = redis.call('LRANGE', key('mailbox', peer), 0, -1) end
  detach(peer, p)
  redis.call('ZREM', one('away'), peer)
  redis.call('DEL', key('peer', peer), key('mailbox', peer))
  if sid then return { peer, sid, remaining(sid), mail } end
  return nil
end
local function attach(peer, node, g)
  redis.call('SADD', key('node', node), peer)
  redis.call('EXPIRE', key('node', node), TTL)
  redis.call('EXPIRE', key('peer', peer), TTL)
  redis.call('HSET', key('connections', g), 'peer', peer, 'node', node, 'since', string.format('%.0f', time()))
  redis.call('EXPIRE', key('connections', g), TTL)
end
local function enter(peer, node, sid)
  redis.call('HSET', key('sessions', sid), peer, node)
  redis.call('EXPIRE', key('sessions', sid), TTL)
  redis.call('SADD', one('active'), sid)
  redis.call('EXPIRE', one('active'), TTL)
end
local function joined(sid, peer)
  return '{"Joined":{"session_id":' .. json(sid) .. ',"peer_id":' .. json(peer) .. '}}'
end
local function signal(to, parcel) return '{"Signal":{"to":' .. json(to) .. ',"parcel":' .. parcel .. '}}' end
local function post(peer, p, parcel, most, bytes)
  local box = key('mailbox', peer)
  local waiting = redis.call('LLEN', box)
  if waiting == 0 and p.b > 0 then
    p.b = 0
    redis.call('HSET', key('peer', peer), 'b', 0)
  end
  if waiting >= most or p.b + #parcel > bytes then return 4 end
  redis.call('RPUSH', box, parcel)
  redis.call('EXPIRE', box, TTL)
  redis.call('HINCRBY', key('peer', peer), 'b', #parcel)
  return 2
end
"#,
            $($code),+
        )
    };
}

/// peer, node, identity, token, presented, ticket → `in use` or generation, session, resumed, owed, mailbox.
pub(super) const CONNECT: &str = script!(
    r#"
local peer, node, identity, token, presented, ticket = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local p = get(peer)
local session, resumed, owed, mailbox = '', false, '', {}
if p then
  if p.i ~= identity and identity ~= 'operator' then return { 'in use' } end
  session = p.s
  resumed = presented ~= '' and presented == p.t and (p.n ~= '' or p.m)
  if p.n == '' then
    if resumed then mailbox = redis.call('LRANGE', key('mailbox', peer), 0, -1) end
    if resumed then owed = p.o end
  else
    local told = tell(p.n, '{"Replaced":{"peer_id":' .. json(peer) .. ',"generation":' .. p.g
      .. ',"resumed":' .. tostring(resumed) .. '}}')
    if resumed and told > 0 then owed = p.g end
    if resumed then mailbox = redis.call('LRANGE', key('mailbox', peer), 0, -1) end
  end
  detach(peer, p)
  redis.call('ZREM', one('away'), peer)
  redis.call('DEL', key('mailbox', peer))
end
local t = redis.call('TIME')
local g = tonumber(t[1]) * 1000000 + tonumber(t[2])
local last = tonumber(redis.call('GET', one('generation')) or '0')
if p and tonumber(p.g) > last then last = tonumber(p.g) end
if g <= last then g = last + 1 end
g = string.format('%.0f', g)
redis.call('SET', one('generation'), g, 'EX', 86400)
redis.call('DEL', key('peer', peer))
redis.call('HSET', key('peer', peer), 'g', g, 'n', node, 'i', identity, 't', token, 's', session, 'o', owed)
attach(peer, node, g)
if session ~= '' then enter(peer, node, session) end
tell(node, '{"Arrived":{"ticket":' .. ticket .. ',"peer_id":' .. json(peer) .. ',"generation":' .. g
  .. ',"resumed":' .. tostring(resumed) .. '}}')
return { g, session, resumed and 1 or 0, owed ~= '' and 1 or 0, mailbox }
"#
);

/// peer, generation, session, seen → `gone`, `again`, or `done` with what was left.
pub(super) const JOIN: &str = script!(
    r#"
local peer, g, sid, seen = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local p = get(peer)
if not p or p.g ~= g or p.n == '' then return { 'gone' } end
if (redis.call('GET', key('endings', sid)) or '0') ~= seen then return { 'again' } end
local before = p.s
local gone = {}
if before ~= '' and before ~= sid then
  leave(peer, p, false)
  gone = { before, remaining(before) }
end
if before ~= sid then
  tell_session(sid, p.n, joined(sid, peer))
  redis.call('HSET', key('peer', peer), 's', sid)
end
enter(peer, p.n, sid)
local others = {}
for _, other in ipairs(redis.call('HKEYS', key('sessions', sid))) do
  if other ~= peer then others[#others + 1] = json(other) end
end
tell(p.n, '{"Entered":{"peer_id":' .. json(peer) .. ',"generation":' .. g .. ',"session_id":' .. json(sid)
  .. ',"others":[' .. table.concat(others, ',') .. '],"news":' .. tostring(before ~= sid) .. '}}')
return { 'done', gone }
"#
);

/// peer, generation → what was left.
pub(super) const LEAVE: &str = script!(
    r#"
local peer, g = ARGV[3], ARGV[4]
local p = get(peer)
if not p or p.g ~= g then return {} end
local sid = leave(peer, p, false)
if not sid then return {} end
return { { peer, sid, remaining(sid), {} } }
"#
);

/// peer, generation → what was left.
pub(super) const DISCONNECT: &str = script!(
    r#"
local peer, g = ARGV[3], ARGV[4]
local p = get(peer)
if not p or p.g ~= g then return {} end
local gone = forget(peer, p)
if not gone then return {} end
return { gone }
"#
);

/// node, generation so far, peers: forgets those of them that the node has not connected since.
pub(super) const PRUNE: &str = script!(
    r#"
local node, asof = ARGV[3], tonumber(ARGV[4])
for at = 5, #ARGV do
  local p = get(ARGV[at])
  if not p then
    redis.call('SREM', key('node', node), ARGV[at])
  elseif p.n == node and tonumber(p.g) <= asof then
    forget(ARGV[at], p)
  end
end
return 0
"#
);

/// peer, generation, milliseconds, mail → 1 when it is away now.
pub(super) const PARK: &str = script!(
    r#"
local peer, g, hold, mail = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local p = get(peer)
if not p or p.g ~= g or p.n == '' then return 0 end
local till = time() + hold
detach(peer, p)
redis.call('HSET', key('peer', peer), 'n', '', 'u', string.format('%.0f', till), 'm', mail, 'o', g)
redis.call('EXPIRE', key('peer', peer), TTL + math.ceil(hold / 1000))
redis.call('ZADD', one('away'), till, peer)
redis.call('EXPIRE', one('away'), 86400)
if p.s ~= '' then redis.call('HSET', key('sessions', p.s), peer, '') end
tell(p.n, '{"Parked":{"peer_id":' .. json(peer) .. ',"generation":' .. g .. '}}')
return 1
"#
);

/// peer, generation, parcels.
pub(super) const LEAVE_BEHIND: &str = script!(
    r#"
local peer, g = ARGV[3], ARGV[4]
local p = get(peer)
if not p or p.o ~= g then return 0 end
redis.call('HSET', key('peer', peer), 'o', '')
if p.n == '' then
  if p.m then
    for at = #ARGV, 5, -1 do
      redis.call('LPUSH', key('mailbox', peer), ARGV[at])
      redis.call('HINCRBY', key('peer', peer), 'b', #ARGV[at])
    end
    redis.call('EXPIRE', key('mailbox', peer), TTL)
  end
else
  local parcels = {}
  for at = 5, #ARGV do parcels[#parcels + 1] = ARGV[at] end
  tell(p.n, '{"Leftovers":{"peer_id":' .. json(peer) .. ',"parcels":[' .. table.concat(parcels, ',') .. ']}}')
end
return 1
"#
);

/// node, most parcels, most bytes, items → a number for each.
pub(super) const DISPATCH: &str = script!(
    r#"
local node, most, bytes = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local function ended(sid)
  redis.call('INCR', key('endings', sid))
  redis.call('EXPIRE', key('endings', sid), 600)
end
local sent = {}
local at = 6
while at <= #ARGV do
  local kind = ARGV[at]
  local code = 0
  if kind == 'S' then
    local to, sid, parcel = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    local p = get(to)
    if not p or p.s ~= sid then
      code = 3
    elseif p.n == '' then
      if p.m then code = post(to, p, parcel, most, bytes) else code = 3 end
    elseif p.b > 0 and redis.call('EXISTS', key('mailbox', to)) == 1 then
      code = post(to, p, parcel, most, bytes)
    elseif tell(p.n, signal(to, parcel)) == 0 then
      code = post(to, p, parcel, most, bytes)
    elseif p.n == node then
      code = 1
    end
  elseif kind == 'P' then
    local sid, parcel, fresh, event = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    at = at + 5
    local members = redis.call('HGETALL', key('sessions', sid))
    local told = {}
    for m = 1, #members, 2 do
      local peer, where = members[m], members[m + 1]
      if where == '' then
        if fresh == '0' then
          local p = get(peer)
          if p and p.m then post(peer, p, parcel, most, bytes) end
        end
      elseif where ~= node and not told[where] then
        told[where] = true
        tell(where, event)
      end
    end
  elseif kind == 'C' then
    local sid = ARGV[at + 1]
    at = at + 2
    ended(sid)
    tell_session(sid, nil, '{"Closed":{"session_id":' .. json(sid) .. '}}')
    for _, peer in ipairs(remaining(sid)) do
      if redis.call('HGET', key('peer', peer), 's') == sid then redis.call('HSET', key('peer', peer), 's', '') end
    end
    redis.call('DEL', key('sessions', sid))
    redis.call('SREM', one('active'), sid)
  elseif kind == 'E' then
    local sid, player = ARGV[at + 1], ARGV[at + 2]
    at = at + 3
    ended(sid)
    for _, peer in ipairs(remaining(sid)) do
      if peer == player or string.sub(peer, 1, #player + 1) == player .. ':' then
        local p = get(peer)
        if p and p.s == sid then leave(peer, p, true) else redis.call('HDEL', key('sessions', sid), peer) end
      end
    end
  else
    tell(ARGV[at + 1], ARGV[at + 2])
    at = at + 3
  end
  sent[#sent + 1] = code
end
return sent
"#
);

/// limit, whether silent nodes count, milliseconds of silence → departures.
pub(super) const REAP: &str = script!(
    r#"
local limit, nodes, silence = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local now = time()
local gone = {}
local count = 0
local function take(peer, node)
  local p = get(peer)
  count = count + 1
  if p and p.n == node then gone[#gone + 1] = forget(peer, p) end
end
for _, peer in ipairs(redis.call('ZRANGEBYSCORE', one('away'), '-inf', now, 'LIMIT', 0, limit)) do
  take(peer, '')
  redis.call('ZREM', one('away'), peer)
end
if nodes == '1' then
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', one('nodes'), '-inf', now - silence)) do
    local peers = redis.call('SRANDMEMBER', key('node', node), limit)
    for _, peer in ipairs(peers) do
      take(peer, node)
      redis.call('SREM', key('node', node), peer)
    end
    if #peers < limit then
      redis.call('ZREM', one('nodes'), node)
      redis.call('DEL', key('node', node))
    end
    if count >= limit then break end
  end
end
return gone
"#
);

/// node, whether to enter → the last generation, none when the node is not known.
pub(super) const RENEW: &str = script!(
    r#"
local node, enter = ARGV[3], ARGV[4]
if enter == '0' and not redis.call('ZSCORE', one('nodes'), node) then return false end
redis.call('ZADD', one('nodes'), time(), node)
redis.call('EXPIRE', one('nodes'), 86400)
return redis.call('GET', one('generation')) or '0'
"#
);

/// node: one that has no peers is forgotten at once.
pub(super) const EXIT: &str = script!(
    r#"
local node = ARGV[3]
if redis.call('EXISTS', key('node', node)) == 0 then redis.call('ZREM', one('nodes'), node) end
return 0
"#
);

/// node, and for each peer: peer, generation, identity, token, session, whether that was settled alone → who is newer elsewhere.
pub(super) const ANNOUNCE: &str = script!(
    r#"
local node = ARGV[3]
local newer = {}
for at = 4, #ARGV, 6 do
  local peer, g, identity, token, sid, alone = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5]
  local p = get(peer)
  if p and (p.g == g or (p.n == node and p.t == token)) then
    if p.n == node then
      -- It had to choose a generation by itself: the answer to its connecting was lost.
      if p.g ~= g then
        detach(peer, p)
        redis.call('HSET', key('peer', peer), 'g', g)
        p.g = g
      end
      attach(peer, node, g)
      if p.s ~= sid then
        if alone == '1' then
          leave(peer, p, false)
          if sid ~= '' then
            tell_session(sid, node, joined(sid, peer))
            redis.call('HSET', key('peer', peer), 's', sid)
            p.s = sid
          end
        elseif sid ~= '' then
          tell(node, left(sid, peer, g, true))
        end
      end
      if p.s ~= '' then enter(peer, node, p.s) end
      local parcel = p.b > 0 and redis.call('LPOP', key('mailbox', peer))
      while parcel do
        if tell(node, signal(peer, parcel)) == 0 then
          redis.call('LPUSH', key('mailbox', peer), parcel)
          redis.call('EXPIRE', key('mailbox', peer), TTL)
          break
        end
        parcel = redis.call('LPOP', key('mailbox', peer))
      end
    end
  elseif p and tonumber(p.g) > tonumber(g) then
    newer[#newer + 1] = peer
  else
    if p then
      if p.n ~= '' and p.n ~= node then
        tell(p.n, '{"Replaced":{"peer_id":' .. json(peer) .. ',"generation":' .. p.g .. ',"resumed":false}}')
      end
      if p.s ~= sid then leave(peer, p, false) end
      detach(peer, p)
      redis.call('ZREM', one('away'), peer)
    end
    redis.call('DEL', key('peer', peer), key('mailbox', peer))
    redis.call('HSET', key('peer', peer), 'g', g, 'n', node, 'i', identity, 't', token, 's', sid)
    attach(peer, node, g)
    if sid ~= '' then
      tell_session(sid, node, joined(sid, peer))
      enter(peer, node, sid)
    end
    if tonumber(redis.call('GET', one('generation')) or '0') < tonumber(g) then
      redis.call('SET', one('generation'), g, 'EX', 86400)
    end
  end
end
return newer
"#
);

/// Connected peers and sessions.
pub(super) const COUNTS: &str = script!(
    r#"
local peers = 0
for _, node in ipairs(redis.call('ZRANGE', one('nodes'), 0, -1)) do
  peers = peers + redis.call('SCARD', key('node', node))
end
return { peers, redis.call('SCARD', one('active')) }
"#
);
