-- A parallel worker would look for the policy while it is being made.
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL max_parallel_maintenance_workers = 0;

-- The schema and the types everything else uses.
CREATE SCHEMA steward;
COMMENT ON SCHEMA steward IS 'pg_steward: policy, operations and audit chain. Its tables are written by its functions only.';
GRANT USAGE ON SCHEMA steward TO PUBLIC;

CREATE FUNCTION steward._require_preload() RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', '_require_preload_wrapper';
COMMENT ON FUNCTION steward._require_preload() IS 'Fails with 55000 unless the library is preloaded. Called at installation.';
REVOKE ALL ON FUNCTION steward._require_preload() FROM PUBLIC;
SELECT steward._require_preload();

CREATE TYPE steward.tier AS ENUM ('normal', 'important', 'critical');
COMMENT ON TYPE steward.tier IS 'Risk of a statement, in order of severity (manual 1.1).';
