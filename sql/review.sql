-- Reviews that are owed: who sees them, when they are told, and whether they stop the next operation.
ALTER TABLE steward._operation_approval ADD FOREIGN KEY (op_no) REFERENCES steward._operation;

CREATE TABLE steward.review_block (
    single  boolean PRIMARY KEY DEFAULT true CHECK (single),
    overdue int NOT NULL CHECK (overdue BETWEEN 1 AND 1000)
);
COMMENT ON TABLE steward.review_block IS 'From how many overdue reviews on an applicant''s further important and critical operations are refused. No row: never. Written by steward.set_review_block only.';
REVOKE ALL ON steward.review_block FROM PUBLIC;
GRANT SELECT ON steward.review_block TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('steward.review_block', '');

CREATE VIEW steward.review_queue WITH (security_barrier) AS
    SELECT o.op_no, o.applicant, o.tier, o.executed_at, o.review_due AS due,
        coalesce(o.review_due < clock_timestamp(), false) AS overdue, clock_timestamp() - o.executed_at AS age,
        (SELECT sum((e.details ->> 'rows_missing')::bigint) FROM steward._operation_event e
            WHERE e.op_no = o.op_no AND e.event = 'EXECUTE')::bigint AS rows_missing
    FROM steward.operation o
    WHERE (o.status = 'executed' OR o.status IN ('approved', 'failed', 'armed') AND o.runs_done > 0 AND o.review_due IS NOT NULL)
        AND (SELECT steward.has_capability('approve') OR steward.has_capability('audit')
            OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = SESSION_USER AND r.rolsuper));
COMMENT ON VIEW steward.review_queue IS 'Operations that ran and wait for their review, for persons who approve or audit and for superusers; nobody else sees a row. due: the end of the term. age: since the last run. rows_missing: so many rows fewer than expected_rows were touched; NULL: none. Everybody may read it.';
GRANT SELECT ON steward.review_queue TO PUBLIC;

CREATE FUNCTION steward.check_reviews() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'check_reviews_wrapper';
COMMENT ON FUNCTION steward.check_reviews IS 'Tells of every review that has become overdue, once: a record REVIEW OVERDUE with the result FAILURE, a line of steward.operation_trail and a NOTIFY on steward_alert (JSON). Returns how many it told of. For a job; calling it again does no harm. 42501 without the capability approve or audit. May be called by persons who approve or audit and by superusers.';

CREATE FUNCTION steward.set_review_block(overdue int) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'set_review_block_wrapper';
COMMENT ON FUNCTION steward.set_review_block IS 'From how many overdue reviews on an applicant can neither file nor execute important and critical operations, until others have reviewed; 0 = never. Never the post service: an application is not locked out. 22023 for other values than 0 to 1000. Callers as steward.protect; once the policy is active with as many approvals as the rules for PRIVILEGE demand.';

REVOKE ALL ON FUNCTION steward.check_reviews, steward.set_review_block FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.check_reviews TO PUBLIC;
