-- One reminder for everything that has a term: records, accounts, grants, passwords, incidents, recertifications, the login of the jobs, archiving.

-- stage: how near the end is; overdue: it is over; missing: there never was one.
CREATE VIEW steward._reminder AS
    WITH thing(kind, subject, due_at, remind_days) AS (
        SELECT k.name, coalesce(n.subject, l.subject),
            CASE WHEN l.id IS NULL THEN NULL WHEN l.good THEN coalesce(l.valid_until, 'infinity') ELSE l.done_at END, k.remind_days
        FROM steward._record_need n FULL JOIN steward._record_last l ON l.kind = n.kind AND l.subject = n.subject
        JOIN steward.record_kind k ON k.name = coalesce(n.kind, l.kind)
        WHERE n.kind IS NOT NULL OR k.subject = 'object' AND k.remind_days <> '{}'
        UNION ALL SELECT 'unconfirmed', format('record %s: %s of %s', r.id, r.kind, r.subject), r.recorded_at + interval '7 days', '{}'
            FROM steward._record r JOIN steward.record_kind k ON k.name = r.kind AND k.confirm
            WHERE r.confirmed_at IS NULL AND r.withdrawn_at IS NULL
        UNION ALL SELECT 'account', p.name, p.valid_until, '{90,30,7}' FROM steward.person p
            WHERE p.suspended_at IS NULL AND p.valid_until IS NOT NULL
        UNION ALL SELECT 'password', r.rolname::text, r.rolvaliduntil, '{30,7}' FROM pg_catalog.pg_roles r
            WHERE r.rolcanlogin AND r.rolvaliduntil IS NOT NULL
        UNION ALL SELECT 'role_grant', format('%s of %s', t.grantee, t.op_no), min(t.until), '{90,30,7}' FROM steward.role_term t
            WHERE t.ended_at IS NULL GROUP BY t.grantee, t.op_no
        UNION ALL SELECT 'temporary_grant', format('%s of %s', g.id, g.person), g.until, '{7}' FROM steward.temporary_grant g
            WHERE g.ended_at IS NULL AND g.until > clock_timestamp()
        UNION ALL SELECT 'incident', i.incident_no, i.response_due, '{}' FROM (
            SELECT format('INC-%s', i.id) AS incident_no, i.occurred_at + t.term AS response_due
            FROM steward._incident i JOIN steward.incident_term t USING (level) LEFT JOIN steward._alert a ON a.id = i.alert_id
            WHERE i.responded_at IS NULL AND a.acknowledged_at IS NULL) i
        UNION ALL SELECT 'recertification', format('%s: %s %s of %s', i.id, i.kind, i.subject, i.grantee), c.due_at, '{7}'
            FROM steward._recertification c JOIN steward._recertification_item i ON i.campaign = c.id
            JOIN steward._recertified_right h ON (h.person, h.grantee, h.kind, h.subject) = (i.person, i.grantee, i.kind, i.subject)
            WHERE i.keep IS NOT TRUE
        UNION ALL SELECT 'job_login', role::text, until, '{90,30,7}' FROM steward.job_login
        UNION ALL SELECT 'archiving', 'wal', last_failed_time, '{}' FROM pg_catalog.pg_stat_archiver
            WHERE last_failed_time > coalesce(last_archived_time, '-infinity'))
    SELECT kind, subject, due_at, CASE WHEN due_at IS NULL THEN 'missing' WHEN due_at <= clock_timestamp() THEN 'overdue'
            ELSE (SELECT min(days) FROM unnest(remind_days) days WHERE due_at <= clock_timestamp() + days * interval '1 day')
                || ' days' END AS stage
    FROM thing
    WHERE due_at IS NULL OR due_at <= clock_timestamp()
        OR due_at <= clock_timestamp() + (SELECT max(days) FROM unnest(remind_days) days) * interval '1 day';
COMMENT ON VIEW steward._reminder IS 'What ends soon, is over or is missing. Read through steward.reminder and steward.check_records().';

CREATE VIEW steward.reminder WITH (security_barrier) AS
    SELECT kind, subject, due_at, stage, stage IN ('overdue', 'missing') AS overdue,
        CASE WHEN isfinite(due_at) THEN ceil(extract(epoch FROM due_at - clock_timestamp()) / 86400)::int END AS days_left
    FROM steward._reminder
    WHERE (SELECT steward._may_see_records()) OR subject = (SELECT steward.current_person());
COMMENT ON VIEW steward.reminder IS 'Everything whose term ends soon, is over or was never met: records (steward.record_kind) and those that nobody has confirmed for 7 days, accounts, passwords, grants with a term, the login of the jobs, incidents that nobody has in hand, rights that nobody has recertified or that still stand although they should go, archiving that fails. stage: 90, 30 or 7 days, overdue, missing. Persons see what bears their name, superusers and persons with the capability audit, approve or configure everything.';

CREATE TABLE steward._reminded (
    kind    text NOT NULL,
    subject text NOT NULL,
    stage   text NOT NULL,
    day     date NOT NULL,
    PRIMARY KEY (kind, subject, stage, day)
);
COMMENT ON TABLE steward._reminded IS 'What steward.check_records() has put into the audit chain: of what is overdue or missing once a day, otherwise once for each stage of each term (day: its end).';

CREATE FUNCTION steward.check_records() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'check_records_wrapper';
COMMENT ON FUNCTION steward.check_records() IS 'Puts a record into the audit chain for everything that steward.reminder shows and that is new: REMINDER once for each stage of a term, OVERDUE once a day for what is over or missing; alert rules see them. Returns how many. For a daily job; several runs a day do no harm. 42501 except for superusers, persons with the capability audit, approve or configure, and the post service.';

INSERT INTO steward.alert_rule (name, level, kinds, operation_types, results) VALUES
    ('record_overdue', 'minor', '{policy}', '{OVERDUE}', '{FAILURE}');

REVOKE ALL ON steward._reminder, steward.reminder, steward._reminded FROM PUBLIC;
GRANT SELECT ON steward.reminder TO PUBLIC;
REVOKE ALL ON FUNCTION steward.check_records FROM PUBLIC;
GRANT EXECUTE ON FUNCTION steward.check_records TO PUBLIC;
