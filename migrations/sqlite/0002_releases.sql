-- Releases of policies: records and components, what each slot is to run, what nodes say of it, and who decided what.
-- Records, states, reports and entries are JSON documents of the service; what is looked for has a column of its own.

CREATE TABLE releases (
    number INTEGER PRIMARY KEY AUTOINCREMENT,           -- in the order they were stored
    id     TEXT    NOT NULL UNIQUE,
    slot   TEXT    NOT NULL CHECK (slot IN ('host-selection', 'rate-limit', 'npc-transform')),
    digest TEXT    NOT NULL,
    record TEXT    NOT NULL
) STRICT;

CREATE INDEX idx_release_slot ON releases (slot, number);
CREATE INDEX idx_release_digest ON releases (digest);

CREATE TABLE release_components (
    digest TEXT PRIMARY KEY NOT NULL,
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE release_slots (
    slot       TEXT    PRIMARY KEY NOT NULL CHECK (slot IN ('host-selection', 'rate-limit', 'npc-transform')),
    generation INTEGER NOT NULL,                        -- grows with every change
    state      TEXT    NOT NULL
) STRICT;

CREATE TABLE release_nodes (
    node    TEXT    NOT NULL,
    slot    TEXT    NOT NULL,
    seen_at INTEGER NOT NULL,
    report  TEXT    NOT NULL,
    PRIMARY KEY (node, slot)
) STRICT;

CREATE INDEX idx_release_node_seen_at ON release_nodes (seen_at);

CREATE TABLE release_audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    slot   TEXT    NOT NULL,
    entry  TEXT    NOT NULL
) STRICT;

CREATE INDEX idx_release_audit_slot ON release_audit (slot, number);
