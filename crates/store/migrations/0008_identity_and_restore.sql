-- The sessions lately heard under a cluster's identity, and the conflict between them (core, control::identity).
ALTER TABLE presence ADD COLUMN sessions TEXT NOT NULL DEFAULT '{}';
-- Somebody decided which session keeps an identity: the old credential works for that one alone, until the credential that
-- replaces it is used.
CREATE TABLE kept_session (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    session TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;

-- Held since a restore: not delivered before somebody releases it.
ALTER TABLE job ADD COLUMN withheld_at INTEGER;
CREATE INDEX job_withheld ON job (cluster, seq) WHERE withheld_at IS NOT NULL AND ended_at IS NULL;

-- Results for jobs that this database does not know. n rises within a cluster; the lowest gives way.
CREATE TABLE unknown_result (
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    n INTEGER NOT NULL,
    job BLOB NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT NOT NULL,
    applied_ref TEXT,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (cluster, n),
    UNIQUE (cluster, job)
) STRICT, WITHOUT ROWID;
