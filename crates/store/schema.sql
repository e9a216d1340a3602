CREATE TABLE api_token (
    lookup INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    organization INTEGER REFERENCES organization (row),
    description TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX api_token_of_organization ON api_token (organization, created_at);

CREATE TABLE archival (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    actor_kind TEXT NOT NULL,
    actor TEXT NOT NULL
) STRICT;

CREATE TABLE "audit" (
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

CREATE TABLE "cluster" (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    organization INTEGER NOT NULL REFERENCES organization (row),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    registered_at INTEGER,
    archived_at INTEGER
) STRICT;

CREATE UNIQUE INDEX cluster_name ON cluster (organization, name) WHERE archived_at IS NULL;

CREATE TABLE credential (
    lookup INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    pending INTEGER NOT NULL CHECK (pending IN (0, 1)),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL, drop_at INTEGER) STRICT;

CREATE INDEX credential_by_drop ON credential (drop_at) WHERE drop_at IS NOT NULL;

CREATE INDEX credential_by_end ON credential (expires_at);

CREATE UNIQUE INDEX credential_current ON credential (cluster) WHERE pending = 0;

CREATE INDEX credential_pending ON credential (cluster, created_at) WHERE pending = 1;

CREATE UNIQUE INDEX credential_rotated ON credential (cluster) WHERE drop_at IS NOT NULL;

CREATE TABLE cursor_key (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    key BLOB NOT NULL
) STRICT;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    identity BLOB,
    event_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    resource TEXT NOT NULL,
    conditions TEXT NOT NULL,
    told_at INTEGER,
    received_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX event_identity ON event (cluster, identity) WHERE identity IS NOT NULL;

CREATE INDEX event_of_cluster ON event (cluster, seq);

CREATE TABLE installation (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    bootstrapped_at INTEGER NOT NULL
) STRICT;

CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    state INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    lane BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    ever_acked INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 1,
    leased_until INTEGER,
    held_at INTEGER,
    expires_at INTEGER
, ended_at INTEGER, api_group TEXT, effect INTEGER, withheld_at INTEGER) STRICT;

CREATE INDEX job_ended ON job (cluster, state, seq) WHERE ended_at IS NOT NULL;

CREATE INDEX job_expiring ON job (expires_at) WHERE expires_at IS NOT NULL AND state < 2;

CREATE TABLE "job_key" (
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    key TEXT NOT NULL,
    job INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (cluster, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_open ON job (cluster, state, seq) WHERE ended_at IS NULL;

CREATE INDEX job_replaceable ON job (cluster, lane, api_group) WHERE state = 0 AND effect IS NOT NULL;

CREATE TABLE job_report (
    job INTEGER PRIMARY KEY REFERENCES job (seq),
    phase TEXT NOT NULL DEFAULT '',
    conditions TEXT NOT NULL DEFAULT '[]',
    outcome TEXT,
    error TEXT NOT NULL DEFAULT '',
    conflicts TEXT NOT NULL DEFAULT '[]',
    applied_ref TEXT
) STRICT;

CREATE TABLE job_spec (
    job INTEGER PRIMARY KEY REFERENCES job (seq),
    created_at INTEGER NOT NULL,
    target_kind TEXT NOT NULL,
    target_namespace TEXT NOT NULL,
    target_name TEXT NOT NULL,
    key TEXT,
    wait_for TEXT,
    deadline_seconds INTEGER,
    payload TEXT NOT NULL
, retry_seconds INTEGER, force INTEGER NOT NULL DEFAULT 0) STRICT;

CREATE TABLE job_step (
    job INTEGER NOT NULL REFERENCES job (seq),
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    cause TEXT NOT NULL,
    PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_withheld ON job (cluster, seq) WHERE withheld_at IS NOT NULL AND ended_at IS NULL;

CREATE TABLE kept_session (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    session TEXT NOT NULL,
    since INTEGER NOT NULL
) STRICT;

CREATE TABLE "organization" (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;

CREATE UNIQUE INDEX organization_name ON organization (name) WHERE archived_at IS NULL;

CREATE TABLE presence (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    session TEXT,
    last_seen INTEGER NOT NULL,
    break_at INTEGER,
    user_agent TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    operator_version TEXT NOT NULL,
    kubernetes_version TEXT NOT NULL,
    conditions TEXT NOT NULL
, sessions TEXT NOT NULL DEFAULT '{}') STRICT;

CREATE TABLE registration_token (
    lookup INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    consumed_at INTEGER,
    registration_id TEXT
, organization INTEGER REFERENCES organization (row)) STRICT;

CREATE INDEX registration_token_by_end ON registration_token (expires_at);

CREATE INDEX registration_token_of_cluster ON registration_token (cluster, created_at);

CREATE INDEX registration_token_open ON registration_token (organization, expires_at) WHERE consumed_at IS NULL;

CREATE TABLE report_digest (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    digest BLOB NOT NULL
) STRICT;

CREATE TABLE resource (
    row INTEGER PRIMARY KEY,
    cluster INTEGER NOT NULL REFERENCES cluster (row),
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    api_group TEXT NOT NULL,
    api_version TEXT NOT NULL,
    uid TEXT NOT NULL,
    generation INTEGER NOT NULL,
    as_of INTEGER NOT NULL, sequence INTEGER NOT NULL DEFAULT 0,
    UNIQUE (cluster, kind, namespace, name, api_group)
) STRICT;

CREATE TABLE resource_condition (
    resource INTEGER NOT NULL REFERENCES resource (row) ON DELETE CASCADE,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    observed_generation INTEGER NOT NULL,
    last_transition INTEGER,
    as_of INTEGER NOT NULL, sequence INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (resource, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;

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

