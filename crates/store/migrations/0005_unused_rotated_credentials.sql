-- A credential that rotation gave is dropped when nobody uses it in time: its cluster holds the current one, too. At
-- most one of a cluster waits. Those that wait already were given to clusters that may hold no other: they stay as
-- they are, good for their whole life, like those of a repeated registration.
ALTER TABLE credential ADD COLUMN drop_at INTEGER;
CREATE UNIQUE INDEX credential_rotated ON credential (cluster) WHERE drop_at IS NOT NULL;
CREATE INDEX credential_by_drop ON credential (drop_at) WHERE drop_at IS NOT NULL;
