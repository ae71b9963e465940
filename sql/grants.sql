-- The register of records has a job too.
INSERT INTO steward.job (name, schedule, purpose, max_age)
    SELECT 'check_records', '20 18 * * *', 'Reminds of records whose term ends.', '25 hours'
    WHERE to_regprocedure('steward.check_records()') IS NOT NULL;

-- Last of all: the audit views say no by themselves, also where the library is not loaded. With the trigger a write on
-- a view gets as far as the executor, where it is recorded as denied before this function could run.
CREATE FUNCTION steward._refuse_write() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'statement refused: audit records cannot be changed' USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION steward._refuse_write() IS 'Trigger: refuses every write on an audit view with 42501.';
REVOKE ALL ON FUNCTION steward._refuse_write() FROM PUBLIC;
CREATE TRIGGER refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON steward.audit_log
    FOR EACH ROW EXECUTE FUNCTION steward._refuse_write();
CREATE TRIGGER refuse_write INSTEAD OF INSERT OR UPDATE OR DELETE ON steward.audit_logs
    FOR EACH ROW EXECUTE FUNCTION steward._refuse_write();

-- The very last: what there is now is what was installed.
INSERT INTO steward._own_object SELECT kind, identity, digest, current_setting('server_version_num')::int / 10000 FROM steward._own_objects();
