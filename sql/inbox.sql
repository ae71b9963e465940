-- What waits for whom, each with the next command to type.

CREATE VIEW steward._box AS
    SELECT o.op_no, c.box, c.who, c.due, ARRAY(SELECT last.person
            FROM (SELECT DISTINCT ON (e.person) e.person, e.details ->> 'answer' AS answer FROM steward._operation_event e
                WHERE e.op_no = o.op_no AND e.event = 'ANSWER' AND e.details ->> 'box' = c.box
                    AND coalesce((e.details ->> 'runs')::bigint = o.runs_done, true) ORDER BY e.person, e.n DESC) last
            WHERE last.answer <> 'no') AS filled
    FROM steward._operation o
    JOIN steward.checklist_policy p ON p.demanded AND p.tier = o.tier AND (p.rules IS NULL OR p.rules && (o.matched_rules || o.rule))
    JOIN steward.checklist c ON c.list = p.list AND c.filled_by = 'person'
    WHERE o.origin = 'request';
COMMENT ON VIEW steward._box IS 'Boxes for persons that are demanded of each operation, and who has filled them; each approver fills an own one. For steward.inbox.';
REVOKE ALL ON steward._box FROM PUBLIC;

CREATE VIEW steward.inbox WITH (security_barrier) AS
    SELECT w.waits_for, o.op_no, o.tier, o.applicant, o.purpose, o.script, o.digest, w.due,
        format(w.call, o.op_no, left(o.digest, 12)) AS next_command
    FROM steward.operation o
    CROSS JOIN LATERAL (
        SELECT 'approval' AS waits_for, o.expires_at AS due, 'SELECT steward.approve(%L, %L);' AS call
            WHERE o.origin <> 'break_glass' AND (o.status = 'submitted' OR o.status IN ('approved', 'failed') AND (o.approvals_open <> '{}'
                    OR o.every IS NULL AND o.approvals_given < o.approvals_needed))
                AND NOT o.frozen
                AND CASE WHEN o.approvals_open = '{}' THEN (SELECT steward.has_capability('approve'))
                    ELSE steward._may_sign(o.op_no) END
                AND o.applicant <> (SELECT steward.current_person())
                AND NOT EXISTS (SELECT FROM steward._operation_event e
                    WHERE e.op_no = o.op_no AND e.event = 'APPROVE' AND e.person = (SELECT steward.current_person()))
                AND NOT EXISTS (SELECT FROM steward._box b WHERE b.op_no = o.op_no AND b.due = 'approve'
                    AND (b.filled = '{}' OR b.who = 'approver' AND (SELECT steward.current_person()) <> ALL (b.filled)))
        UNION ALL
        SELECT 'renewal', o.approvals_lapse, 'SELECT steward.approve(%L, %L);'
            WHERE o.every IS NOT NULL AND o.status IN ('approved', 'failed') AND NOT o.frozen AND (SELECT steward.has_capability('approve'))
                AND coalesce(o.approvals_lapse, '-infinity') <= clock_timestamp() + interval '720 hours'
                AND o.applicant <> (SELECT steward.current_person())
                AND coalesce(o.confirmed_by, '') <> (SELECT steward.current_person())
                AND NOT EXISTS (SELECT FROM steward._approval a WHERE a.op_no = o.op_no
                    AND a.person = (SELECT steward.current_person()) AND a.lapses > clock_timestamp() + interval '720 hours')
        UNION ALL
        SELECT 'confirmation', o.expires_at,
                'SELECT steward.confirm(%L, %L' || CASE WHEN o.stepwise THEN ', ' || (o.steps_done + 1) ELSE '' END || ');'
            WHERE o.status IN ('approved', 'failed') AND NOT o.frozen AND o.witness_needed AND (SELECT steward.has_capability('witness'))
                AND o.not_before <= clock_timestamp()
                AND CASE WHEN o.every IS NULL THEN coalesce(o.confirmed_at, '-infinity') <= clock_timestamp() - interval '10 minutes'
                    ELSE o.confirmed_at IS NULL OR EXISTS (SELECT FROM steward._operation_event e
                        WHERE e.op_no = o.op_no AND e.event IN ('APPROVE', 'RENEW') AND e.person IS NOT NULL AND e.at > o.confirmed_at) END
                AND o.applicant <> (SELECT steward.current_person())
                AND NOT EXISTS (SELECT FROM steward._operation_event e
                    WHERE e.op_no = o.op_no AND e.event = 'APPROVE' AND e.person = (SELECT steward.current_person()))
        UNION ALL
        SELECT 'execution', o.expires_at, CASE WHEN o.needs_arm THEN 'SELECT steward.arm(%L);' ELSE 'SELECT * FROM steward.execute(%L);' END
            WHERE o.status IN ('approved', 'failed') AND NOT o.frozen AND o.not_before <= clock_timestamp()
                AND o.origin <> 'break_glass'
                AND (NOT o.witness_needed OR o.confirmed_at > CASE WHEN o.every IS NULL THEN clock_timestamp() - interval '10 minutes'
                    ELSE '-infinity' END)
                AND coalesce(o.next_run, '-infinity') <= clock_timestamp()
                AND o.applicant = (SELECT steward.current_person())
                AND NOT EXISTS (SELECT FROM steward._box b WHERE b.op_no = o.op_no AND b.due <> 'review' AND b.filled = '{}')
        UNION ALL
        SELECT 'review', o.review_due, 'SELECT steward.review(%L, ''accepted'', ''…'');'
            WHERE (o.status = 'executed' OR o.status IN ('approved', 'failed') AND o.runs_done > 0 AND o.review_due IS NOT NULL)
                AND (SELECT steward.has_capability('approve'))
                AND (o.origin <> 'break_glass' OR o.expires_at <= clock_timestamp())
                AND o.applicant <> (SELECT steward.current_person())
                AND coalesce(o.executed_by, '') <> (SELECT steward.current_person())
        UNION ALL
        SELECT 'answer', CASE b.due WHEN 'review' THEN o.review_due ELSE o.expires_at END,
                format('SELECT steward.answer(%%L, %L, ''yes'', ''…'');', replace(b.box, '%', '%%'))
            FROM steward._box b WHERE b.op_no = o.op_no AND (b.filled = '{}' OR b.who = 'approver' AND (SELECT steward.current_person()) <> ALL (b.filled))
                AND CASE WHEN b.due = 'review' THEN o.runs_done > 0 AND o.review_due IS NOT NULL AND o.status IN ('executed', 'approved', 'failed')
                    ELSE o.status IN ('submitted', 'approved', 'failed') AND NOT o.frozen END
                AND CASE b.who WHEN 'applicant' THEN o.applicant = (SELECT steward.current_person())
                    WHEN 'witness' THEN (SELECT steward.has_capability('witness')) AND o.applicant <> (SELECT steward.current_person())
                        AND coalesce(o.confirmed_by, (SELECT steward.current_person())) = (SELECT steward.current_person())
                    ELSE o.applicant <> (SELECT steward.current_person()) AND coalesce(o.confirmed_by, '') <> (SELECT steward.current_person())
                        AND (o.status = 'submitted' OR EXISTS (SELECT FROM steward._operation_event e
                            WHERE e.op_no = o.op_no AND e.event = 'APPROVE' AND e.person = (SELECT steward.current_person())))
                        AND CASE WHEN o.approvals_open = '{}' THEN (SELECT steward.has_capability('approve')) ELSE steward._may_sign(o.op_no) END END
        UNION ALL
        SELECT 'revocation', t.until, replace(concat('SELECT steward.revoke_lapsed();  -- ', t.command), '%', '%%')
            FROM steward._role_term_open t WHERE t.op_no = o.op_no AND t.until <= clock_timestamp()
                AND (SELECT steward.has_capability('configure') OR steward.has_capability('approve'))) w;
COMMENT ON VIEW steward.inbox IS 'What waits for the person behind this login: approvals, confirmations, reviews, own operations that are ready to run, and boxes of checklists (answer); an approval or a run waits for the answers of people that are due before it; what a box filled by the system still lacks, the refusal says. renewal: approvals of a standing operation lapse within 30 days, or have. revocation: a right whose term is over, for those who approve or configure. due: when the term ends. next_command: the call that takes the step, for the script shown beside it. Everybody may read it; nobody sees what waits for others.';
GRANT SELECT ON steward.inbox TO PUBLIC;
