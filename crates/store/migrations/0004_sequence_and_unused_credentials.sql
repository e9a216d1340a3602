-- A credential that nobody used is good for its whole life: the cluster may hold no other.
ALTER TABLE credential DROP COLUMN drop_at;
-- What an agent sent before it died may arrive after what the next one sent.
ALTER TABLE resource ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resource_condition ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
