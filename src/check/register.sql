-- Rows of the register that are not what the audit chain says of them (steward._register_step, kept by register.rs). A row
-- alone tells of a change by its digest and of a gap by its number; what was taken off its end, and who confirmed or
-- withdrew it, only the chain knows, as far back as it was online when it was first read.
WITH step AS MATERIALIZED (
    SELECT step, person, record AS id, digest, reason FROM steward._register_step
), numbered AS (
    SELECT generate_series(1, greatest((SELECT max(id) FROM steward._record), (SELECT max(id) FROM step WHERE digest IS NOT NULL))) AS n
), chained AS (
    -- All before this has reached the chain.
    SELECT clock_timestamp() - coalesce(lag, '1 day') - interval '1 minute' AS until FROM steward.audit_status
)
SELECT format('record %s %s', n, CASE WHEN r.id IS NULL THEN 'is gone' ELSE 'was changed' END)
    FROM numbered LEFT JOIN steward._record r ON r.id = n
    WHERE r.id IS NULL OR r.digest IS DISTINCT FROM
            steward._record_digest(r.kind, r.subject, r.fields, r.done_at, r.valid_until, r.recorded_by, r.recorded_at)
        OR EXISTS (SELECT FROM step s WHERE s.id = n AND s.digest <> r.digest)
UNION ALL SELECT format('record %s is not confirmed or withdrawn as %s has done it', s.id, s.person)
    FROM step s JOIN steward._record r USING (id)
    WHERE s.step = 'confirm_record' AND r.confirmed_by IS DISTINCT FROM s.person
        OR s.step = 'withdraw_record' AND (r.withdrawn_by, r.withdrawn_reason) IS DISTINCT FROM (s.person, s.reason)
UNION ALL SELECT format('record %s: the chain knows of no %s', r.id, d.step)
    FROM steward._record r CROSS JOIN LATERAL (VALUES ('confirm_record', r.confirmed_by, r.confirmed_at),
        ('withdraw_record', r.withdrawn_by, r.withdrawn_at)) d (step, person, at)
    -- What came with a dump, or is older than what is online, has no record of its making here either.
    WHERE d.person IS NOT NULL AND d.at NOT BETWEEN (SELECT until FROM chained) AND clock_timestamp()
        AND EXISTS (SELECT FROM step s WHERE s.id = r.id AND s.digest = r.digest)
        AND NOT EXISTS (SELECT FROM step s WHERE s.id = r.id AND s.step = d.step)
ORDER BY 1
