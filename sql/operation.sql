-- Operations: what somebody wants to run, who agreed to it, and what became of it.

-- No hook sees which sequence setval() is given, so a superuser may move this one: numbers in use are passed over, and
-- behind the last comes the first.
CREATE SEQUENCE steward.operation_number AS bigint CYCLE;
COMMENT ON SEQUENCE steward.operation_number IS 'The last part of the numbers of operations. Whoever takes one leaves a gap, nothing else.';
COMMENT ON SEQUENCE steward.operation_number IS 'Last part of operation numbers. Never blocks; a gap is a request that was rolled back. Wherever it stands, no number is given twice.';

CREATE TABLE steward._operation (
    op_no             text PRIMARY KEY,
    origin            text NOT NULL CHECK (origin IN ('request', 'statement', 'break_glass')),
    script            text NOT NULL,
    digest            bytea NOT NULL CHECK (octet_length(digest) = 32),
    tier              steward.tier NOT NULL,
    rule              text,
    purpose           text NOT NULL,
    impact            text,
    expected_rows     bigint CHECK (expected_rows >= 0),
    rollback_plan     text,
    applicant         text NOT NULL REFERENCES steward.person,
    applicant_login   text NOT NULL,
    run_as            regrole,
    database          text NOT NULL,
    system_identifier text NOT NULL,
    not_before        timestamptz NOT NULL,
    not_after         timestamptz NOT NULL CHECK (not_after > not_before),
    runs_allowed      int NOT NULL CHECK (runs_allowed >= 1),
    runs_done         int NOT NULL DEFAULT 0 CHECK (runs_done BETWEEN 0 AND runs_allowed),
    approvals_needed  int NOT NULL CHECK (approvals_needed >= 0),
    witness_needed    boolean NOT NULL,
    status            text NOT NULL CHECK (status IN
        ('submitted', 'approved', 'executed', 'closed', 'rejected', 'cancelled', 'expired', 'failed', 'armed')),
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    confirmed_by      text REFERENCES steward.person,
    confirmed_at      timestamptz,
    executed_by       text REFERENCES steward.person,
    executed_at       timestamptz,
    rows_done         bigint,
    review_due        timestamptz,
    reviewed_by       text REFERENCES steward.person,
    reviewed_at       timestamptz,
    review_verdict    text CHECK (review_verdict IN ('accepted', 'rejected')),
    CHECK (origin <> 'request' OR run_as IS NOT NULL),
    -- Ordered steps and standing operations.
    stepwise          boolean NOT NULL DEFAULT false,
    confirmed_step    int,
    rows_touched      bigint NOT NULL DEFAULT 0,
    every             interval,
    CHECK (NOT stepwise OR every IS NULL),
    -- Armed sessions.
    needs_arm         boolean NOT NULL DEFAULT false,
    data_digests      text[],
    armed_in          text,
    CHECK (NOT needs_arm OR NOT stepwise AND every IS NULL),
    -- Who must approve and when it may run depend on the rules that match; when an overdue review was told.
    matched_rules     text[] NOT NULL DEFAULT '{}',
    review_alerted_at timestamptz,
    -- The form of appendix A or B, if one was filed (sql/form.sql).
    form              text,
    seal              bytea,
    exactly           boolean NOT NULL DEFAULT false
);
-- Whether a key ever was is asked of what is sealed.
CREATE INDEX _operation_sealed ON steward._operation (not_after) WHERE seal IS NOT NULL;
CREATE INDEX _operation_open ON steward._operation (status) WHERE status IN ('submitted', 'approved', 'failed', 'executed');
CREATE INDEX _operation_review ON steward._operation (applicant, rule, executed_at) WHERE origin = 'statement' AND status = 'executed';
COMMENT ON TABLE steward._operation IS 'Every operation. Written by the functions of this schema only, read through steward.operation. Not dumped: an approval belongs to one database of one cluster.';
COMMENT ON COLUMN steward._operation.origin IS 'request: filed with steward.request. statement: opened by an important statement that waits for its review. break_glass: an emergency window; not_after is its end.';
COMMENT ON COLUMN steward._operation.needs_arm IS 'Some of its statements cannot run inside steward.execute: it runs with steward.arm.';
COMMENT ON COLUMN steward._operation.data_digests IS 'SHA-256 in hexadecimal of the data of each COPY FROM STDIN, in the order of the script.';
COMMENT ON COLUMN steward._operation.armed_in IS 'While status is armed: which life of the server the armed session belongs to.';
COMMENT ON COLUMN steward._operation.stepwise IS 'Each run is the next statement of the script, so runs_allowed is their number and runs_done how many are done. Each takes a confirmation of its own.';
COMMENT ON COLUMN steward._operation.confirmed_step IS 'The run that the last confirmation was for, from 1. The confirmation of a stepwise operation counts for no other.';
COMMENT ON COLUMN steward._operation.rows_touched IS 'Rows that all runs so far have touched, those of functions and cascades on protected tables included. For a stepwise operation expected_rows limits this sum, else each run.';
COMMENT ON COLUMN steward._operation.every IS 'A standing operation: what lies at least between the end of a run and the beginning of the next, in hours, minutes and seconds. Approvals count for 365 days; the confirmation counts for every run, as long as enough of the approvals do that were given before it.';
COMMENT ON COLUMN steward._operation.matched_rules IS 'Every rule that matched the script when it was filed, from however many rows on.';
COMMENT ON COLUMN steward._operation.review_alerted_at IS 'When steward.check_reviews() told that the review is overdue.';
COMMENT ON COLUMN steward._operation.digest IS 'SHA-256 of the UTF-8 bytes of script; with a form, of script, a zero byte and form; with data_digests, of script, a zero byte, form or nothing, a zero byte and the digests in lower case with commas between. Approvals and confirmations are for these bytes.';
COMMENT ON COLUMN steward._operation.exactly IS 'A run that touches fewer rows than expected_rows is undone too.';
COMMENT ON COLUMN steward._operation.seal IS 'HMAC-SHA-256, under a key made of steward.key_file, of this row, of the lines of its trail that say yes, of its rows of signatures and of its dependencies, while it may still run. Without a key file nothing is sealed; with one, nothing runs whose seal does not fit.';
COMMENT ON COLUMN steward._operation.form IS 'The form as it was filled in, as JSON with sorted keys and times in UTC.';

CREATE TABLE steward._operation_event (
    n       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    op_no   text NOT NULL REFERENCES steward._operation,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    event   text NOT NULL,
    person  text,
    login   text,
    comment text,
    digest  bytea,
    details jsonb
);
CREATE INDEX _operation_event_op_no ON steward._operation_event (op_no);
CREATE UNIQUE INDEX _operation_event_one_approval ON steward._operation_event (op_no, person) WHERE event = 'APPROVE';
COMMENT ON TABLE steward._operation_event IS 'Every step of every operation, appended only; read through steward.operation_trail. person NULL: the policy itself.';
COMMENT ON SEQUENCE steward._operation_event_n_seq IS 'Order of the steps; a gap is a step that was rolled back.';

REVOKE ALL ON steward._operation, steward._operation_event, steward.operation_number FROM PUBLIC;

-- The last approval of each person who may approve still. 8760 hours are 365 days in every time zone.
CREATE VIEW steward._approval AS
    SELECT e.op_no, e.person, max(e.at) AS at, max(e.at) + interval '8760 hours' AS lapses
    FROM steward._operation_event e JOIN steward.person p ON p.name = e.person JOIN steward.post t ON t.name = p.post
    WHERE e.event IN ('APPROVE', 'RENEW') AND 'approve' = ANY (t.capabilities) AND p.suspended_at IS NULL
        AND coalesce(p.valid_until, 'infinity') > clock_timestamp() AND e.at > coalesce(p.reinstated_at, '-infinity')
    GROUP BY e.op_no, e.person;
COMMENT ON VIEW steward._approval IS 'Approvals by persons who may approve still; lapses concerns standing operations. For steward.operation and steward.inbox.';
REVOKE ALL ON steward._approval FROM PUBLIC;

CREATE VIEW steward.operation WITH (security_barrier) AS
    SELECT o.op_no,
        CASE WHEN o.status NOT IN ('submitted', 'approved', 'failed') OR o.not_after > clock_timestamp() THEN o.status
             WHEN o.runs_done = 0 THEN 'expired' WHEN o.review_due IS NOT NULL THEN 'executed' ELSE 'closed' END AS status,
        o.tier, o.rule, o.purpose, o.impact, o.script, encode(o.digest, 'hex') AS digest, o.expected_rows, o.rollback_plan,
        o.applicant, o.applicant_login, o.run_as, o.origin,
        o.approvals_needed,
        CASE WHEN o.status IN ('submitted', 'approved', 'failed')
            THEN (SELECT count(*) FROM steward._approval a WHERE a.op_no = o.op_no
                AND (o.every IS NULL OR a.lapses > greatest(clock_timestamp(), o.executed_at)))
            ELSE (SELECT count(*) FROM steward._operation_event e
                WHERE e.op_no = o.op_no AND e.event = 'APPROVE' AND e.person IS NOT NULL) END::int AS approvals_given,
        o.witness_needed, o.confirmed_by, o.confirmed_at, o.not_before, o.not_after AS expires_at,
        o.runs_allowed, o.runs_done, o.created_at, o.executed_by, o.executed_at, o.rows_done,
        o.review_due, o.reviewed_by, o.reviewed_at, o.review_verdict,
        o.status IN ('submitted', 'approved', 'failed') AND NOT EXISTS (SELECT FROM steward.person p
            WHERE p.name = o.applicant AND p.suspended_at IS NULL AND coalesce(p.valid_until, 'infinity') > clock_timestamp()
                AND o.created_at > coalesce(p.reinstated_at, '-infinity')) AS frozen,
        o.stepwise, CASE WHEN o.stepwise THEN o.runs_done END AS steps_done,
        o.every, o.executed_at + o.every AS next_run,
        CASE WHEN o.every IS NOT NULL THEN (SELECT a.lapses FROM steward._approval a WHERE a.op_no = o.op_no
            ORDER BY a.lapses DESC OFFSET greatest(o.approvals_needed, 1) - 1 LIMIT 1) END AS approvals_lapse,
        o.needs_arm, o.data_digests,
        CASE WHEN o.status IN ('submitted', 'approved', 'failed') AND (EXISTS (SELECT FROM steward.approval_rule)
                OR EXISTS (SELECT FROM steward._operation_approval a WHERE a.op_no = o.op_no))
            THEN steward._approvals_open(o.op_no) ELSE '{}' END AS approvals_open,
        o.form::jsonb AS form, o.exactly
    FROM steward._operation o
    WHERE o.applicant = (SELECT steward.current_person())
        OR (SELECT steward.has_capability('approve') OR steward.has_capability('witness')
            OR steward.has_capability('audit') OR steward.has_capability('configure')
            OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = SESSION_USER AND r.rolsuper))
        OR (SELECT EXISTS (SELECT FROM steward.approval_rule r WHERE r.capability <> 'approve')
            OR EXISTS (SELECT FROM steward._operation_approval a WHERE a.capability <> 'approve'))
            AND o.status IN ('submitted', 'approved', 'failed') AND steward._may_sign(o.op_no);
COMMENT ON VIEW steward.operation IS 'The operations that the caller may see: their own; those that wait for their signature; all of them for persons who approve, witness, audit or configure and for superusers. status: submitted, approved, executed (waits for its review), closed, rejected, cancelled, expired, failed (may run again), armed (a session runs its statements one by one). tier is what the whole script needs. Times are timestamptz; expires_at and review_due are the ends of the two terms. approvals_given: those that count now. frozen: its applicant was suspended; it can only be cancelled or rejected. stepwise: each run is the next statement; steps_done of runs_allowed. every: a standing operation; next_run is the end of its last run and this interval later, approvals_lapse when too few approvals will count unless they are renewed. needs_arm: it runs with steward.arm. data_digests: SHA-256 of the data of each COPY FROM STDIN. approvals_open: rows of steward.approval_rule whose signature is missing. Everybody may read it.';
COMMENT ON COLUMN steward.operation.op_no IS 'OP, the day in steward.time_zone, and a number.';
COMMENT ON COLUMN steward.operation.status IS 'submitted, approved, executed (waits for its review), closed, rejected, cancelled, expired, failed (may run again), armed (a session runs its statements one by one).';
COMMENT ON COLUMN steward.operation.tier IS 'What the whole script needs: normal, important or critical.';
COMMENT ON COLUMN steward.operation.rule IS 'The rule that has given the tier.';
COMMENT ON COLUMN steward.operation.purpose IS 'What for, in the words of the applicant.';
COMMENT ON COLUMN steward.operation.impact IS 'What it will do to users, in the words of the applicant.';
COMMENT ON COLUMN steward.operation.script IS 'What runs, byte for byte.';
COMMENT ON COLUMN steward.operation.digest IS 'SHA-256 in hexadecimal of what is voted on: the script, the form and the digests of data.';
COMMENT ON COLUMN steward.operation.expected_rows IS 'Rows that a run may touch; NULL: as many as it takes.';
COMMENT ON COLUMN steward.operation.rollback_plan IS 'What is done if it goes wrong, in the words of the applicant.';
COMMENT ON COLUMN steward.operation.applicant IS 'The person who filed it.';
COMMENT ON COLUMN steward.operation.applicant_login IS 'The login with which it was filed.';
COMMENT ON COLUMN steward.operation.run_as IS 'The role as which it runs.';
COMMENT ON COLUMN steward.operation.origin IS 'request: filed with steward.request. statement: opened by an important statement that waits for its review. break_glass: an emergency window.';
COMMENT ON COLUMN steward.operation.approvals_needed IS 'How many persons must approve.';
COMMENT ON COLUMN steward.operation.approvals_given IS 'How many approvals count now; of an operation that has ended, how many were given.';
COMMENT ON COLUMN steward.operation.witness_needed IS 'A second person must confirm each run, at most ten minutes before it.';
COMMENT ON COLUMN steward.operation.confirmed_by IS 'Who confirmed the coming run, or the last one.';
COMMENT ON COLUMN steward.operation.confirmed_at IS 'When that was; NULL: the coming run is not confirmed.';
COMMENT ON COLUMN steward.operation.not_before IS 'It cannot run earlier.';
COMMENT ON COLUMN steward.operation.expires_at IS 'The end of its term: it cannot run later.';
COMMENT ON COLUMN steward.operation.runs_allowed IS 'How often it may run; of a stepwise operation, how many statements it has.';
COMMENT ON COLUMN steward.operation.runs_done IS 'How often it has run.';
COMMENT ON COLUMN steward.operation.created_at IS 'When it was filed.';
COMMENT ON COLUMN steward.operation.executed_by IS 'The person who ran it last.';
COMMENT ON COLUMN steward.operation.executed_at IS 'When its last run ended, or was armed.';
COMMENT ON COLUMN steward.operation.rows_done IS 'Rows that its statements reported, all runs together.';
COMMENT ON COLUMN steward.operation.review_due IS 'Until when somebody else is to review what it did; NULL: nobody has to.';
COMMENT ON COLUMN steward.operation.reviewed_by IS 'The person who reviewed it.';
COMMENT ON COLUMN steward.operation.reviewed_at IS 'When that was.';
COMMENT ON COLUMN steward.operation.review_verdict IS 'What the reviewer found.';
COMMENT ON COLUMN steward.operation.frozen IS 'Its applicant was suspended since; it can only be cancelled or rejected.';
COMMENT ON COLUMN steward.operation.stepwise IS 'Each run is the next statement of the script, and takes a confirmation of its own.';
COMMENT ON COLUMN steward.operation.steps_done IS 'Statements of a stepwise operation that were executed; NULL for others.';
COMMENT ON COLUMN steward.operation.every IS 'Of a standing operation the time that lies at least between two runs; NULL for others.';
COMMENT ON COLUMN steward.operation.next_run IS 'The earliest begin of the next run of a standing operation.';
COMMENT ON COLUMN steward.operation.approvals_lapse IS 'When too few approvals of a standing operation will count unless they are renewed.';
COMMENT ON COLUMN steward.operation.needs_arm IS 'Some of its statements cannot run inside steward.execute: it runs with steward.arm.';
COMMENT ON COLUMN steward.operation.data_digests IS 'SHA-256 in hexadecimal of the data of each COPY FROM STDIN, in the order of the script.';
COMMENT ON COLUMN steward.operation.approvals_open IS 'Rows of steward.approval_rule whose signature is missing.';
COMMENT ON COLUMN steward.operation.form IS 'The form as it was filled in; NULL without one.';
COMMENT ON COLUMN steward.operation.exactly IS 'A run that touches fewer rows than expected_rows is undone too.';

CREATE VIEW steward.operation_trail WITH (security_barrier) AS
    SELECT e.op_no, e.n, e.at, e.event, e.person, e.login, e.comment, encode(e.digest, 'hex') AS digest, e.details
    FROM steward._operation_event e
    WHERE EXISTS (SELECT FROM steward.operation o WHERE o.op_no = e.op_no);
COMMENT ON VIEW steward.operation_trail IS 'Every step of the operations that the caller may see; ordered by n it is their history. person NULL: the policy itself. Steps that were refused or rolled back are in steward.audit_log. Everybody may read it.';

GRANT SELECT ON steward.operation, steward.operation_trail TO PUBLIC;

CREATE FUNCTION steward.request(script text, purpose text, impact text DEFAULT NULL, expected_rows bigint DEFAULT NULL,
    rollback_plan text DEFAULT NULL, not_before timestamptz DEFAULT now(), not_after timestamptz DEFAULT now() + interval '7 days',
    runs int DEFAULT 1, run_as regrole DEFAULT NULL, approvals int DEFAULT NULL, stepwise boolean DEFAULT false,
    every interval DEFAULT NULL, data_digests text[] DEFAULT NULL, form jsonb DEFAULT NULL, exactly boolean DEFAULT false) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'request_wrapper';
COMMENT ON FUNCTION steward.request IS 'Files a script as an operation and returns its number, such as OP-20261121-0001. Nothing is executed. expected_rows: touching more rows aborts the run; NULL counts as bulk. Fewer are told (WARNING, record ROWS MISSING, steward.review_queue, and the review takes a comment); with exactly they abort the run too, or the last step of a stepwise one. run_as: NULL is the current role; the login must be a member of it. approvals: ask for more of them than the policy demands of the script as far as it can be seen, 0 to 9 (what a DO block or a function does is only seen when it runs). stepwise: each call of steward.execute runs the next statement only, in a transaction of its own, after a confirmation of that step. every: a standing operation for a scheduler such as pg_cron: up to runs runs, each at least this long after the end of the one before, counted in seconds (1 second to 366 days; a month is 30 days), so a nightly job asks for 23 hours. It needs an approval whatever its tier, and expected_rows, which limits each run, if it may write; not_after may be years away. Nobody stands by at its runs: the applicant''s login executes it without a code, and the second person confirms it once, after the approvals. These count for 365 days; in the last 30 and later they are given anew, and then confirmed anew. A suspension, a revoked right, a changed dependency or a rejected review stops it. data_digests: SHA-256 in hexadecimal of the data of each COPY FROM STDIN, in the order of the script. form: a form of steward.form, filled in, such as {"form": "role_grant", "grantee": …}; it is part of the digest. What gives rights (GRANT, a new owner, a row policy that lets rows through) takes the form role_grant, which the policy writes itself, without an end, where the script gives one grantee one role or plain privileges. Where another form is demanded, a script that does more than give rights takes that one. What cannot run inside a function is filed too and runs with steward.arm; such a script is neither stepwise nor standing. The run has the search_path pg_catalog, so names need their schema, and constraints are immediate unless the script defers them. Errors: 22023 empty script or purpose, a form that is missing, has a field missing or says something else than the script, hidden characters, a password in clear, a term in the past, a COPY FROM STDIN without digest; 42601 and the like where the script does not parse; 0A000 what no operation runs, such as transaction control; 42501 without the capability apply or the membership; 55000 if nobody could approve it. May be called by registered persons whose post gives the capability apply.';

CREATE FUNCTION steward._known_operation(op_no text) RETURNS text
    STABLE STRICT LANGUAGE c AS 'MODULE_PATHNAME', 'known_operation_wrapper';
COMMENT ON FUNCTION steward._known_operation IS 'The number itself if such an operation exists, else error 42704. Everybody may call it, through steward.show.';

CREATE FUNCTION steward.show(op_no text) RETURNS SETOF steward.operation ROWS 1 STRICT
    LANGUAGE sql STABLE
    BEGIN ATOMIC
        SELECT o.* FROM steward.operation o WHERE o.op_no = steward._known_operation(show.op_no);
    END;
COMMENT ON FUNCTION steward.show IS 'One operation as an approver reads it, with the exact script and its digest; no row where the caller may not see it. Errors: 42704 unknown number. Everybody may call it.';

CREATE FUNCTION steward.approve(op_no text, digest text, comment text DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'approve_wrapper';
COMMENT ON FUNCTION steward.approve IS 'Approves the script that the caller read. A standing operation is approved anew, by the same person or another, in the last 30 days of an approval''s 365 and after them. digest: at least 12 leading hexadecimal digits of its SHA-256 as steward.show tells it. Errors: 42501 own operation, second approval by one person, changed digest, no capability; 55000 wrong status or expired; 22023 malformed digest; 42704 unknown number. May be called by persons whose post gives the capability approve.';

CREATE FUNCTION steward.reject(op_no text, comment text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'reject_wrapper';
COMMENT ON FUNCTION steward.reject IS 'Ends an operation that has not run, also after its approval. Errors: 42501 own operation or no capability, 22023 without a comment, 55000 wrong status, 42704 unknown number. May be called by persons whose post gives the capability approve.';

CREATE FUNCTION steward.cancel(op_no text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'cancel_wrapper';
COMMENT ON FUNCTION steward.cancel IS 'Takes an operation back. What it already did still waits for its review. Errors: 42501 somebody else''s operation, 55000 wrong status, 42704 unknown number. May be called by the applicant and by persons whose post gives the capability configure.';

CREATE FUNCTION steward.confirm(op_no text, digest text, step int DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'confirm_wrapper';
COMMENT ON FUNCTION steward.confirm IS 'Stands by as the second person, from a session of their own: the applicant may execute within 10 minutes, once; for a standing operation as often as it may run, until its approvals have to be renewed, and not before them. digest as for steward.approve. step: of a stepwise operation the next one, from 1, and of no other operation; the confirmation is for this statement alone. Errors: 42501 own operation, an approver of it, changed digest, no capability; 55000 not approved, expired, another step is next, or no second person needed; 22023 malformed digest, a step where there are none or none where there are; 42704 unknown number. May be called by persons whose post gives the capability witness.';

CREATE FUNCTION steward.execute(op_no text)
    RETURNS TABLE (step int, statement text, rows bigint, duration_ms double precision)
    LANGUAGE c AS 'MODULE_PATHNAME', 'execute_wrapper';
COMMENT ON FUNCTION steward.execute IS 'Runs the approved script in this transaction, as its run_as role and with fixed settings; everything is checked again before. One row for each statement: rows it reports (rows of a query are counted, not shown) and its duration in milliseconds. An error of a statement passes through as it is and undoes the run; the failed attempt stays on record and the operation may run again. Of a stepwise operation this is the next statement alone; no order is given and none can be. A standing operation takes no code of the second factor and no new confirmation for a run. Errors: 55000 not approved, a run of a standing operation too early (DETAIL says when), not confirmed, no run left, not yet or no longer valid, or already executing; 0A000 a statement that cannot run inside a function (the HINT names steward.arm); 42501 not the applicant, no membership any more, more rows than expected_rows, with exactly fewer; XX001 a seal that does not fit, 55000 a missing one (both only with steward.key_file); XX001 an operation that the audit chain knows to be another or further, 55000 where the chain cannot be asked within 10 seconds or holds no record of it online any more. May be called by the person who filed the operation.';

CREATE FUNCTION steward.review(op_no text, verdict text, comment text) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'review_wrapper';
COMMENT ON FUNCTION steward.review IS 'Closes an executed operation after somebody else looked at what it did. The runs of a standing operation may be reviewed while others are still to come: those up to the review wait for it together, accepted lets it go on, rejected closes it at once. verdict: accepted or rejected; rejected needs a comment, and accepted where fewer rows were touched than expected. Errors: 42501 own work or no capability, 22023 unknown verdict, 55000 nothing to review, 42704 unknown number. May be called by persons whose post gives the capability approve.';

CREATE FUNCTION steward._forged_operations() RETURNS text[]
    LANGUAGE c AS 'MODULE_PATHNAME', '_forged_operations_wrapper';
COMMENT ON FUNCTION steward._forged_operations IS 'Operations that may still run by their term and status, and are not what was filed and voted: by their seals and, as far back as it is online, by the audit chain. For steward.daily_check.';
REVOKE ALL ON FUNCTION steward._forged_operations FROM PUBLIC;

REVOKE ALL ON FUNCTION steward.request, steward.show, steward.approve, steward.reject, steward.cancel, steward.confirm,
    steward.execute, steward.review, steward._known_operation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.request, steward.show, steward.approve, steward.reject, steward.cancel, steward.confirm,
    steward.execute, steward.review, steward._known_operation TO PUBLIC;
