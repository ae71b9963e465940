-- Verification of the audit chain, its head for keeping outside the database, and waiting until all is chained.

CREATE FUNCTION steward.verify_chain(
    from_id bigint DEFAULT NULL, to_id bigint DEFAULT NULL, anchor text DEFAULT NULL,
    OUT ok boolean, OUT checked bigint, OUT from_id bigint, OUT to_id bigint, OUT kind text, OUT first_bad_id bigint, OUT anchored_to text)
    RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'verify_chain_wrapper';
COMMENT ON FUNCTION steward.verify_chain(bigint, bigint, text) IS 'Reads the chain and recomputes every link, on up to eight cores; one row. from_id NULL: from the oldest record kept, and nothing may lie before it; to_id NULL: to the end. anchor: a line that steward.chain_head() gave earlier. ok: consistent, and equal to the anchor if one is given; false for no records. kind: ok not_anchored edited missing inserted reordered truncated forked unknown_format backdated altered_table catalog empty; without an anchor a good chain is not_anchored, and a cut tail cannot be seen. backdated: something is sealed before what was sealed before it. altered_table: the tables of the audit trail are not as they were created, or a record lies outside its segment (then first_bad_id is its id); a WARNING says what differs, also where another kind is reported. catalog: the chain is whole, but steward.definition, segment or ledger is not what it says; a WARNING tells which. 22023 for a bad range or anchor, 25001 in a transaction of repeatable read or serializable that has written. steward.verify_progress shows how far it is. Everybody may call it; it shows no record.';

CREATE FUNCTION steward.chain_head() RETURNS text
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'chain_head_wrapper';
COMMENT ON FUNCTION steward.chain_head() IS 'Checkpoint line of the last chained record, to be kept outside the database and passed to steward.verify_chain() as anchor. 55000 if there is no chain yet. Everybody may call it.';

CREATE FUNCTION steward.flush_audit(timeout interval DEFAULT '10 s') RETURNS boolean
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'flush_audit_wrapper';
COMMENT ON FUNCTION steward.flush_audit(interval) IS 'True once everything recorded before the call is in the chain, except the records of the caller''s own open transaction. 55000 if the sequencer does not run or the timeout is over; waits no longer than that. Everybody may call it.';

CREATE FUNCTION steward.verify_new(
    OUT ok boolean, OUT checked bigint, OUT from_id bigint, OUT to_id bigint, OUT kind text, OUT first_bad_id bigint, OUT anchored_to text)
    RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'verify_new_wrapper';
COMMENT ON FUNCTION steward.verify_new() IS 'Verifies what was chained since the last good verification, for an hourly job; columns as of verify_chain(). Begins with the record that was verified last: it must still be there with the same hash, else truncated, missing or forked. Verifies all if nothing was verified before, or what was found last was not good. kind is never ok, since the last verified head lies with the database and is no anchor. What was changed before that head only verify_chain() finds; once it has, it is found until all verifies again (steward.audit_status.failed_verification). XX001 if the file pg_steward/verified is damaged, 25001 in a transaction of repeatable read or serializable that has written. Everybody may call it; it shows no record.';

CREATE FUNCTION steward._verify_progress(OUT pid int, OUT done bigint, OUT total bigint)
    RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_verify_progress_wrapper';
COMMENT ON FUNCTION steward._verify_progress() IS 'The verifications that run now. For steward.verify_progress.';

CREATE VIEW steward.verify_progress AS
    SELECT pid, done, total, round(100.0 * done / nullif(total, 0), 1) AS percent FROM steward._verify_progress();
COMMENT ON VIEW steward.verify_progress IS 'One row for each verification that runs in this server now. Everybody may read it; empty where track_activities is off.';
COMMENT ON COLUMN steward.verify_progress.pid IS 'Process that verifies: see pg_stat_activity for who and since when.';
COMMENT ON COLUMN steward.verify_progress.done IS 'Records verified so far. Begins anew if the records turn out not to be stored in the order of their ids.';
COMMENT ON COLUMN steward.verify_progress.total IS 'Records to verify.';

GRANT SELECT ON steward.verify_progress TO PUBLIC;
GRANT EXECUTE ON FUNCTION steward.verify_chain(bigint, bigint, text), steward.verify_new(), steward._verify_progress(),
    steward.chain_head(), steward.flush_audit(interval) TO PUBLIC;
