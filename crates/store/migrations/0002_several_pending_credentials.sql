-- Several credentials may be pending: a rotation or an exchange that arrives twice must not end what its first answer
-- gave. The first that is used becomes the current one and ends the others.
DROP INDEX credential_of_cluster;
CREATE UNIQUE INDEX credential_current ON credential (cluster) WHERE pending = 0;
CREATE INDEX credential_pending ON credential (cluster, created_at) WHERE pending = 1;
