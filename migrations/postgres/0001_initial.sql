-- The first schema: hosts, zones, sessions, refresh-token families. Files here are forward only: a released one never changes.
-- Counts are BIGINT because the service counts without a sign in 32 bits. Names compare byte by byte (COLLATE "C"), whatever
-- the locale of the server.

-- A heartbeat changes no indexed column, so it can stay on its page (a HOT update): the fill factor keeps room for that.
CREATE TABLE hosts (
    id                   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_id              TEXT             COLLATE "C" NOT NULL UNIQUE,
    player_id            TEXT             NOT NULL,
    player_name          TEXT             NOT NULL,
    ip_address           TEXT             NOT NULL,
    port                 BIGINT           NOT NULL,
    public_ip            TEXT,
    ice_servers          JSON,                                   -- as the host sent it, kept to the letter
    cpu_cores            BIGINT           NOT NULL,
    cpu_frequency_mhz    BIGINT           NOT NULL,
    memory_mb            BIGINT           NOT NULL,
    network_speed_mbps   BIGINT           NOT NULL,
    max_players          BIGINT           NOT NULL,
    max_zones            BIGINT           NOT NULL,
    region               TEXT,
    labels               JSONB            NOT NULL DEFAULT '{}', -- object of strings
    latency_ms           DOUBLE PRECISION NOT NULL DEFAULT 0,
    packet_loss_percent  DOUBLE PRECISION NOT NULL DEFAULT 0,
    bandwidth_usage_mbps DOUBLE PRECISION NOT NULL DEFAULT 0,
    status               TEXT             NOT NULL CHECK (status IN ('online', 'offline', 'busy', 'maintenance')),
    current_players      BIGINT           NOT NULL DEFAULT 0,
    current_zones        BIGINT           NOT NULL DEFAULT 0,
    quality_score        DOUBLE PRECISION NOT NULL DEFAULT 0,
    created_at           TIMESTAMPTZ      NOT NULL,
    updated_at           TIMESTAMPTZ      NOT NULL,
    last_heartbeat       TIMESTAMPTZ,
    revision             BIGINT           NOT NULL DEFAULT 1     -- grows with every write
) WITH (fillfactor = 70);

CREATE INDEX idx_host_status ON hosts (status);

CREATE TABLE zones (
    id                     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    zone_id                TEXT             COLLATE "C" NOT NULL UNIQUE,
    zone_name              TEXT             COLLATE "C" NOT NULL,
    zone_display_name      TEXT             NOT NULL,
    map_name               TEXT             NOT NULL,
    description            TEXT,
    max_players            BIGINT           NOT NULL,
    recommended_players    BIGINT           NOT NULL,
    p2p_enabled            BOOLEAN          NOT NULL,
    p2p_priority           BIGINT           NOT NULL,
    fallback_enabled       BOOLEAN          NOT NULL,
    min_host_quality_score DOUBLE PRECISION NOT NULL,
    min_bandwidth_mbps     DOUBLE PRECISION NOT NULL,
    max_latency_ms         DOUBLE PRECISION NOT NULL,
    status                 TEXT             NOT NULL CHECK (status IN ('enabled', 'disabled', 'maintenance')),
    total_sessions         BIGINT           NOT NULL DEFAULT 0,
    active_sessions        BIGINT           NOT NULL DEFAULT 0 CHECK (active_sessions >= 0),
    total_players_served   BIGINT           NOT NULL DEFAULT 0,
    created_at             TIMESTAMPTZ      NOT NULL,
    updated_at             TIMESTAMPTZ      NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX idx_zone_order ON zones (p2p_priority DESC, zone_name, zone_id);

-- No foreign key to hosts: a session outlives its host as history, with the host's number and name as they were.
CREATE TABLE p2p_sessions (
    id                          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id                  TEXT             COLLATE "C" NOT NULL UNIQUE,
    host_id                     BIGINT           NOT NULL,                  -- hosts.id
    zone_id                     BIGINT           NOT NULL REFERENCES zones (id),
    host                        TEXT             COLLATE "C" NOT NULL,      -- hosts.host_id
    zone                        TEXT             COLLATE "C" NOT NULL,      -- zones.zone_id
    connected_players           JSONB            NOT NULL DEFAULT '[]',     -- array of player_id
    current_players             BIGINT           NOT NULL DEFAULT 0,
    max_players                 BIGINT           NOT NULL,
    status                      TEXT             NOT NULL
                                CHECK (status IN ('pending', 'active', 'paused', 'ended', 'failed')),
    average_latency_ms          DOUBLE PRECISION NOT NULL DEFAULT 0,
    average_packet_loss_percent DOUBLE PRECISION NOT NULL DEFAULT 0,
    bandwidth_usage_mbps        DOUBLE PRECISION NOT NULL DEFAULT 0,
    started_at                  TIMESTAMPTZ,
    ended_at                    TIMESTAMPTZ,
    created_at                  TIMESTAMPTZ      NOT NULL,
    updated_at                  TIMESTAMPTZ      NOT NULL,
    last_activity_at            TIMESTAMPTZ      NOT NULL
);

CREATE INDEX idx_zone_status ON p2p_sessions (zone_id, status);
CREATE INDEX idx_zone_status_capacity ON p2p_sessions (zone_id, status, current_players);
CREATE INDEX idx_status_ended_at ON p2p_sessions (status, ended_at);
CREATE INDEX idx_session_host ON p2p_sessions (host, id);
-- What is live is few beside the history, so these stay small.
CREATE INDEX idx_session_live_host ON p2p_sessions (host) WHERE status IN ('pending', 'active', 'paused');
CREATE INDEX idx_session_live_activity ON p2p_sessions (last_activity_at) WHERE status IN ('pending', 'active', 'paused');

CREATE TABLE refresh_families (
    family_id   TEXT        COLLATE "C" NOT NULL PRIMARY KEY,
    player_id   TEXT        NOT NULL,
    user_id     TEXT,
    current_jti TEXT        NOT NULL,                                       -- the one refresh token that is good
    expires_at  TIMESTAMPTZ NOT NULL,
    revoked_at  TIMESTAMPTZ,
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL
);

CREATE INDEX idx_refresh_expires_at ON refresh_families (expires_at);
