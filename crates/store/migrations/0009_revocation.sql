-- An archived organization or cluster keeps its row; its name may be used again. Names are unique among the others.
CREATE TABLE organization_kept (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;
INSERT INTO organization_kept SELECT row, id, name, created_at, NULL FROM organization;
DROP TABLE organization;
ALTER TABLE organization_kept RENAME TO organization;
CREATE UNIQUE INDEX organization_name ON organization (name) WHERE archived_at IS NULL;

CREATE TABLE cluster_kept (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization INTEGER NOT NULL REFERENCES organization (row),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    registered_at INTEGER,
    archived_at INTEGER
) STRICT;
INSERT INTO cluster_kept SELECT row, id, organization, name, created_at, registered_at, NULL FROM cluster;
DROP TABLE cluster;
ALTER TABLE cluster_kept RENAME TO cluster;
CREATE UNIQUE INDEX cluster_name ON cluster (organization, name) WHERE archived_at IS NULL;

-- Archived clusters whose open jobs are still to be cancelled, in batches, and who archived them.
CREATE TABLE archival (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL
) STRICT;

-- Open registration tokens are counted by organization and listed by cluster.
ALTER TABLE registration_token ADD COLUMN organization INTEGER REFERENCES organization (row);
UPDATE registration_token
    SET organization = (SELECT c.organization FROM cluster c WHERE c.row = registration_token.cluster);
CREATE INDEX registration_token_open ON registration_token (organization, expires_at) WHERE consumed_at IS NULL;
CREATE INDEX registration_token_of_cluster ON registration_token (cluster, created_at);
CREATE INDEX api_token_of_organization ON api_token (organization, created_at);

-- Seals cursors, so that they show nothing and nobody can make one.
CREATE TABLE cursor_key (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    key BLOB NOT NULL
) STRICT;
