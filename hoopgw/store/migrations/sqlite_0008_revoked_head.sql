-- What was ended before its time is sealed as in the first; and the one row of `revoked_head` says
-- how many there are, and what time it was at least, under a MAC that covers all of them, so that
-- one which is deleted is missed: see hoopgw/store/sqlite_revocations.py.
ALTER TABLE revoked ADD COLUMN seal BLOB NOT NULL DEFAULT x'';
CREATE TABLE revoked_head (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    count INTEGER NOT NULL,
    time  REAL NOT NULL,
    mac   BLOB NOT NULL
) STRICT;
