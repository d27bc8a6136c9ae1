-- The first schema: hosts, zones, sessions, refresh-token families.
-- Moments are milliseconds since the Unix epoch, in UTC. Files here are forward only: a released one never changes.
-- AUTOINCREMENT: a number that clients have seen is never given to another row, not even after a delete.

CREATE TABLE hosts (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    host_id              TEXT    NOT NULL UNIQUE,
    player_id            TEXT    NOT NULL,
    player_name          TEXT    NOT NULL,
    ip_address           TEXT    NOT NULL,
    port                 INTEGER NOT NULL,
    public_ip            TEXT,
    ice_servers          TEXT,                          -- JSON as the host sent it
    cpu_cores            INTEGER NOT NULL,
    cpu_frequency_mhz    INTEGER NOT NULL,
    memory_mb            INTEGER NOT NULL,
    network_speed_mbps   INTEGER NOT NULL,
    max_players          INTEGER NOT NULL,
    max_zones            INTEGER NOT NULL,
    region               TEXT,
    labels               TEXT    NOT NULL DEFAULT '{}', -- JSON object of strings
    latency_ms           REAL    NOT NULL DEFAULT 0,
    packet_loss_percent  REAL    NOT NULL DEFAULT 0,
    bandwidth_usage_mbps REAL    NOT NULL DEFAULT 0,
    status               TEXT    NOT NULL CHECK (status IN ('online', 'offline', 'busy', 'maintenance')),
    current_players      INTEGER NOT NULL DEFAULT 0,
    current_zones        INTEGER NOT NULL DEFAULT 0,
    quality_score        REAL    NOT NULL DEFAULT 0,
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    last_heartbeat       INTEGER,
    revision             INTEGER NOT NULL DEFAULT 1     -- grows with every write
) STRICT;

CREATE INDEX idx_host_status ON hosts (status);

CREATE TABLE zones (
    id                     INTEGER PRIMARY KEY AUTOINCREMENT,
    zone_id                TEXT    NOT NULL UNIQUE,
    zone_name              TEXT    NOT NULL,
    zone_display_name      TEXT    NOT NULL,
    map_name               TEXT    NOT NULL,
    description            TEXT,
    max_players            INTEGER NOT NULL,
    recommended_players    INTEGER NOT NULL,
    p2p_enabled            INTEGER NOT NULL,
    p2p_priority           INTEGER NOT NULL,
    fallback_enabled       INTEGER NOT NULL,
    min_host_quality_score REAL    NOT NULL,
    min_bandwidth_mbps     REAL    NOT NULL,
    max_latency_ms         REAL    NOT NULL,
    status                 TEXT    NOT NULL CHECK (status IN ('enabled', 'disabled', 'maintenance')),
    total_sessions         INTEGER NOT NULL DEFAULT 0,
    active_sessions        INTEGER NOT NULL DEFAULT 0 CHECK (active_sessions >= 0),
    total_players_served   INTEGER NOT NULL DEFAULT 0,
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL
) STRICT;

-- No foreign key to hosts: a session outlives its host as history, with the host's number and name as they were.
CREATE TABLE p2p_sessions (
    id                          INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id                  TEXT    NOT NULL UNIQUE,
    host_id                     INTEGER NOT NULL,                   -- hosts.id
    zone_id                     INTEGER NOT NULL REFERENCES zones (id),
    host                        TEXT    NOT NULL,                   -- hosts.host_id
    zone                        TEXT    NOT NULL,                   -- zones.zone_id
    connected_players           TEXT    NOT NULL DEFAULT '[]',      -- JSON array of player_id
    current_players             INTEGER NOT NULL DEFAULT 0,
    max_players                 INTEGER NOT NULL,
    status                      TEXT    NOT NULL CHECK (status IN ('pending', 'active', 'paused', 'ended', 'failed')),
    average_latency_ms          REAL    NOT NULL DEFAULT 0,
    average_packet_loss_percent REAL    NOT NULL DEFAULT 0,
    bandwidth_usage_mbps        REAL    NOT NULL DEFAULT 0,
    started_at                  INTEGER,
    ended_at                    INTEGER,
    created_at                  INTEGER NOT NULL,
    updated_at                  INTEGER NOT NULL,
    last_activity_at            INTEGER NOT NULL
) STRICT;

CREATE INDEX idx_zone_status ON p2p_sessions (zone_id, status);
CREATE INDEX idx_zone_status_capacity ON p2p_sessions (zone_id, status, current_players);
CREATE INDEX idx_status_ended_at ON p2p_sessions (status, ended_at);
CREATE INDEX idx_session_host_status ON p2p_sessions (host, status);
CREATE INDEX idx_session_status_activity ON p2p_sessions (status, last_activity_at);

CREATE TABLE refresh_families (
    family_id   TEXT    NOT NULL PRIMARY KEY,
    player_id   TEXT    NOT NULL,
    user_id     TEXT,
    current_jti TEXT    NOT NULL,                                   -- the one refresh token that is good
    expires_at  INTEGER NOT NULL,
    revoked_at  INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX idx_refresh_expires_at ON refresh_families (expires_at);
