-- Delegations that were seen in use, for lists and for who may end them. Sealed as in the first.
CREATE TABLE nodes (
    id         TEXT PRIMARY KEY,
    parent     TEXT NOT NULL,
    login      TEXT NOT NULL,
    root       TEXT NOT NULL,
    hop        TEXT NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('person', 'workload', 'agent')),
    attested   INTEGER NOT NULL CHECK (attested IN (0, 1)),
    purpose    TEXT NOT NULL,
    first_seen REAL NOT NULL,
    expires    REAL NOT NULL,
    seal       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_root ON nodes (root, expires);
CREATE INDEX nodes_expires ON nodes (expires);

-- What each delegation with a budget, and all below it, has used of it or holds on lease.
CREATE TABLE spent (
    node       TEXT PRIMARY KEY,
    operations INTEGER NOT NULL,
    rows       INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    reviews    INTEGER NOT NULL,
    expires    REAL NOT NULL,
    seal       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_expires ON spent (expires);
