-- Not only a log-in can be revoked, but each delegation below it, with all that descends from it.
ALTER TABLE revoked_logins RENAME TO revoked;
ALTER TABLE revoked RENAME COLUMN login TO node;
