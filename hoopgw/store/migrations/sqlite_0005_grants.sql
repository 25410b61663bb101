-- Just-in-time grants, from the asking on. What people say of one is in `requests` and `votes`,
-- under the same id. Sealed as in the first.
CREATE TABLE grants (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    template   TEXT NOT NULL,
    terms      TEXT NOT NULL,
    principal  TEXT NOT NULL,
    target     TEXT NOT NULL,
    scope      TEXT NOT NULL CHECK (scope IN ('window', 'session', 'call')),
    digest     BLOB NOT NULL,
    operation  BLOB NOT NULL,
    seconds    REAL NOT NULL,
    reason     TEXT NOT NULL,
    extends    TEXT NOT NULL,
    approvers  TEXT NOT NULL,
    breakglass INTEGER NOT NULL CHECK (breakglass IN (0, 1)),
    state      TEXT NOT NULL CHECK (state IN
               ('requested', 'active', 'denied', 'expired', 'withdrawn', 'consumed', 'revoked')),
    session    TEXT NOT NULL,
    created    REAL NOT NULL,
    began      REAL,
    ends       REAL,
    ended      REAL,
    note       TEXT NOT NULL,
    review     TEXT NOT NULL CHECK (review IN ('none', 'open', 'closed')),
    reviewer   TEXT NOT NULL,
    comment    TEXT NOT NULL,
    reviewed   REAL,
    seal       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_open ON grants (state, created) WHERE state IN ('requested', 'active');
CREATE INDEX grants_review ON grants (created) WHERE review = 'open';
CREATE INDEX grants_created ON grants (created);
