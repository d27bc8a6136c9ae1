-- Releases of policies: records and components, what each slot is to run, what nodes say of it, and who decided what.
-- Records, states, reports and entries are JSON documents of the service; what is looked for has a column of its own.

CREATE TABLE releases (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,     -- in the order they were stored
    id     TEXT   COLLATE "C" NOT NULL UNIQUE,
    slot   TEXT   COLLATE "C" NOT NULL CHECK (slot IN ('host-selection', 'rate-limit', 'npc-transform')),
    digest TEXT   COLLATE "C" NOT NULL,
    record JSON   NOT NULL
);

CREATE INDEX idx_release_slot ON releases (slot, number);
CREATE INDEX idx_release_digest ON releases (digest);

CREATE TABLE release_components (
    digest TEXT  COLLATE "C" NOT NULL PRIMARY KEY,
    bytes  BYTEA NOT NULL
);

-- Not compressed: components are read and written whole, and seldom.
ALTER TABLE release_components ALTER COLUMN bytes SET STORAGE EXTERNAL;

CREATE TABLE release_slots (
    slot       TEXT   COLLATE "C" NOT NULL PRIMARY KEY
               CHECK (slot IN ('host-selection', 'rate-limit', 'npc-transform')),
    generation BIGINT NOT NULL,                                 -- grows with every change
    state      JSON   NOT NULL
);

-- Written every few seconds by each node, in place.
CREATE TABLE release_nodes (
    node    TEXT        COLLATE "C" NOT NULL,
    slot    TEXT        COLLATE "C" NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    report  JSON        NOT NULL,
    PRIMARY KEY (node, slot)
) WITH (fillfactor = 70);

CREATE INDEX idx_release_node_seen_at ON release_nodes (seen_at);

CREATE TABLE release_audit (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot   TEXT   COLLATE "C" NOT NULL,
    entry  JSON   NOT NULL
);

CREATE INDEX idx_release_audit_slot ON release_audit (slot, number);
