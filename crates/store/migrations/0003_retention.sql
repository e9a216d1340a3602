-- When a job ended, absent while it is open: how long it is kept counts from then.
ALTER TABLE job ADD COLUMN ended_at INTEGER;
UPDATE job SET ended_at = (SELECT t.at FROM job_step t WHERE t.job = job.seq AND t.n = job.steps) WHERE state >= 3;

-- Open jobs apart from ended ones: each step of a job then writes only the index of the open, which stays small.
DROP INDEX job_by_state;
CREATE INDEX job_open ON job (cluster, state, seq) WHERE ended_at IS NULL;
CREATE INDEX job_ended ON job (cluster, state, seq) WHERE ended_at IS NOT NULL;

-- An audit record outlives its job: it names it by id, not by a row that may be gone.
CREATE TABLE audit_kept (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    organization INTEGER REFERENCES organization (row),
    cluster INTEGER REFERENCES cluster (row),
    job BLOB,
    detail TEXT NOT NULL
) STRICT;
INSERT INTO audit_kept
    SELECT a.seq, a.at, a.actor_kind, a.actor, a.action, a.organization, a.cluster, j.id, a.detail
    FROM audit a LEFT JOIN job j ON j.seq = a.job ORDER BY a.seq;
DROP TABLE audit;
ALTER TABLE audit_kept RENAME TO audit;

-- The same without a reference to the job, which would have to be looked for here whenever one is deleted.
CREATE TABLE job_key_kept (
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    key TEXT NOT NULL,
    job INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (cluster, key)
) STRICT, WITHOUT ROWID;
INSERT INTO job_key_kept SELECT cluster, key, job, content FROM job_key;
DROP TABLE job_key;
ALTER TABLE job_key_kept RENAME TO job_key;

-- What is over is found by when it was.
CREATE INDEX credential_by_end ON credential (expires_at);
CREATE INDEX registration_token_by_end ON registration_token (expires_at);
