-- Certificates that were issued to callers, until they end: what a CRL or a KRL may have to name.
CREATE TABLE certificates (
    serial  TEXT PRIMARY KEY,
    kind    TEXT NOT NULL CHECK (kind IN ('x509', 'ssh')),
    login   TEXT NOT NULL,
    lineage TEXT NOT NULL,
    issued  REAL NOT NULL,
    expires REAL NOT NULL,
    seal    BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_expires ON certificates (expires);
CREATE INDEX certificates_login ON certificates (login);
