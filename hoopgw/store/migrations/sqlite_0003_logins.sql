-- Log-ins that may be refreshed: bound to a key, with the hash of the refresh token that is good now.
CREATE TABLE logins (
    id         TEXT PRIMARY KEY,
    root       TEXT NOT NULL,
    principal  TEXT NOT NULL,
    thumbprint TEXT NOT NULL,
    refresh    BLOB NOT NULL,
    began      REAL NOT NULL,
    groups_at  REAL NOT NULL,
    expires    REAL NOT NULL,
    seal       BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX logins_root ON logins (root, expires);
CREATE INDEX logins_expires ON logins (expires);
