-- A newer write of a whole object supersedes older queued ones (an apply or an ensure intent alike), but none from before
-- a queued deletion. An object is its lane (kind, namespace, name) and its API group; both are NULL for other jobs.
ALTER TABLE job ADD COLUMN api_group TEXT;
-- 0: gives the object a new content, 1: deletes it.
ALTER TABLE job ADD COLUMN effect INTEGER;

-- The jobs that are queued now count, too. A value without a slash is the core group's.
UPDATE job SET
    effect = CASE WHEN kind = 0 THEN 0 WHEN kind = 1 THEN 1
        ELSE (SELECT CASE json_extract(s.payload, '$.intent')
                WHEN 'ensure-application-instance' THEN 0 WHEN 'delete-application-instance' THEN 1 END
              FROM job_spec s WHERE s.job = job.seq) END,
    api_group = (SELECT CASE json_extract(s.payload, '$.intent')
                WHEN 'delete-application-instance' THEN 'apps.vworkspace.io/'
                WHEN 'ensure-application-instance' THEN json_extract(s.payload, '$.applicationInstance.apiVersion')
                ELSE json_extract(s.payload, '$.apiVersion') END
              FROM job_spec s WHERE s.job = job.seq)
WHERE state = 0;
UPDATE job SET api_group = CASE WHEN effect IS NULL THEN NULL
        WHEN instr(api_group, '/') > 0 THEN substr(api_group, 1, instr(api_group, '/') - 1) ELSE '' END
WHERE state = 0;

DROP INDEX job_replaceable;
CREATE INDEX job_replaceable ON job (cluster, lane, api_group) WHERE state = 0 AND effect IS NOT NULL;
