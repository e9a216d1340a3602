-- Sum of the lines of a cluster's current conditions (core, report_digest). No row: not computed yet, or the cluster's
-- objects changed without a report; the next one reads them all and adds it.
CREATE TABLE report_digest (
    cluster INTEGER PRIMARY KEY REFERENCES cluster (row),
    digest BLOB NOT NULL
) STRICT;
