-- Requests for approval. Every column that says what is asked, of whom and how it stands is under
-- the seal (HMAC-SHA-256 with a key that is not in this file): see hoopgw/store/sqlite.py.
CREATE TABLE requests (
    id           TEXT PRIMARY KEY,
    join_key     BLOB NOT NULL,
    principal    TEXT NOT NULL,
    session      TEXT NOT NULL,
    protocol     TEXT NOT NULL,
    target       TEXT NOT NULL,
    action       TEXT NOT NULL,
    operation    BLOB NOT NULL,
    digest       BLOB NOT NULL,
    context      TEXT NOT NULL,
    remedies     TEXT NOT NULL,
    reason       TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN
                 ('requested', 'approved', 'denied', 'expired', 'withdrawn', 'consumed')),
    created      REAL NOT NULL,
    expires      REAL NOT NULL,
    settled      REAL,
    usable_until REAL,
    note         TEXT NOT NULL,
    seal         BLOB NOT NULL
) STRICT;

-- The same operation asked again while it waits joins the row that is there.
CREATE UNIQUE INDEX requests_waiting ON requests (join_key) WHERE state = 'requested';
CREATE INDEX requests_open ON requests (state, created) WHERE state IN ('requested', 'approved');
CREATE INDEX requests_created ON requests (created);

CREATE TABLE votes (
    request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    person  TEXT NOT NULL,
    name    TEXT NOT NULL,
    groups  TEXT NOT NULL,
    approve INTEGER NOT NULL CHECK (approve IN (0, 1)),
    comment TEXT NOT NULL,
    at      REAL NOT NULL,
    seal    BLOB NOT NULL,
    PRIMARY KEY (request, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_passwords (
    handle     TEXT PRIMARY KEY,
    target     TEXT NOT NULL,
    account    TEXT NOT NULL,
    principal  TEXT NOT NULL,
    salt       BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    expires    REAL NOT NULL,
    seal       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_passwords_expires ON session_passwords (expires);

-- What may be used once: proofs of possession, one-use tokens. Kept until it would be refused anyway.
CREATE TABLE used_jti (
    purpose TEXT NOT NULL,
    jti     TEXT NOT NULL,
    expires REAL NOT NULL,
    PRIMARY KEY (purpose, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_jti_expires ON used_jti (expires);

-- Log-ins that were ended before their time, kept until they would have ended by themselves.
CREATE TABLE revoked_logins (
    login   TEXT PRIMARY KEY,
    expires REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    name     TEXT PRIMARY KEY,
    serial   TEXT NOT NULL,
    previous TEXT NOT NULL,
    enrolled REAL NOT NULL,
    expires  REAL NOT NULL,
    revoked  REAL,
    seal     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE join_tokens (
    hash    BLOB PRIMARY KEY,
    agent   TEXT NOT NULL,
    expires REAL NOT NULL,
    used    REAL,
    seal    BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Sessions that live now. Not evidence (the log is), so neither sealed nor synced one by one.
CREATE TABLE sessions (
    id        TEXT PRIMARY KEY,
    worker    TEXT NOT NULL,
    principal TEXT NOT NULL,
    target    TEXT NOT NULL,
    protocol  TEXT NOT NULL,
    account   TEXT NOT NULL,
    address   TEXT NOT NULL,
    opened    REAL NOT NULL
) STRICT, WITHOUT ROWID;
