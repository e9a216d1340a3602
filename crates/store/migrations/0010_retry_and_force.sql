-- How long a failure that may pass is waited out, and whether the application is upgraded even if nothing changed.
ALTER TABLE job_spec ADD COLUMN retry_seconds INTEGER;
ALTER TABLE job_spec ADD COLUMN force INTEGER NOT NULL DEFAULT 0;
