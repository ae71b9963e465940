-- Operations that may still run and are not what was filed and voted: by their seals and, as far back as it is online, by the
-- audit chain. The chain alone knows of a row that was put back to an earlier state with the seal of that time, and of
-- votes that were written into the tables where there is no key.
WITH online AS (
    SELECT greatest((SELECT steward._record_time(c.record) FROM steward.chain c ORDER BY c.id LIMIT 1),
        (SELECT max(s.last_time) FROM steward.segment s WHERE s.archived_at IS NOT NULL)) AS since,
        -- All before this has reached the chain.
        (SELECT clock_timestamp() - coalesce(lag, '1 day') - interval '1 minute' FROM steward.audit_status) AS until
), open AS MATERIALIZED (
    SELECT o.op_no, o.runs_done FROM steward._operation o
    WHERE o.origin = 'request' AND o.status IN ('submitted', 'approved', 'failed', 'armed') AND o.not_after > clock_timestamp()
), said AS MATERIALIZED (
    SELECT c.op_no, coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9)) AS step,
        coalesce(steward._record_text(c.record, 5), steward._defined_text(who.record, 5)) AS person,
        substring(steward._record_text(c.record, 20) FROM '"digest":"([0-9a-f]{64})"') AS digest
    -- The text is looked for first: of millions of records it leaves a handful to decode.
    FROM (SELECT record, steward._record_text(record, 14) AS op_no FROM steward.chain
            WHERE EXISTS (SELECT FROM open) AND position('"digest":'::bytea IN record) > 0
                AND steward._record_text(record, 15) = 'SUCCESS' OFFSET 0) c
        JOIN open USING (op_no)
        LEFT JOIN steward._definition who ON who.id = steward._record_reference(c.record, 23)
        LEFT JOIN steward._definition what ON what.id = steward._record_reference(c.record, 24)
)
SELECT unnest(steward._unsealed_operations())
UNION ALL SELECT format('%s: the chain knows of no %s by %s for these bytes', e.op_no, e.event, e.person)
    FROM open JOIN steward._operation_event e USING (op_no), online
    WHERE e.event IN ('REQUEST', 'APPROVE', 'RENEW', 'CONFIRM') AND e.person IS NOT NULL
        AND e.at > online.since AND e.at NOT BETWEEN online.until AND clock_timestamp()
        AND NOT EXISTS (SELECT FROM said s
            WHERE (s.op_no, s.step, s.person, s.digest) = (e.op_no, e.event, e.person, encode(e.digest, 'hex')))
UNION ALL SELECT format('%s: the chain knows of %s runs, its row of %s', o.op_no, count(*), o.runs_done)
    FROM open o JOIN said s ON s.op_no = o.op_no AND s.step = 'EXECUTE' GROUP BY o.op_no, o.runs_done HAVING count(*) > o.runs_done
UNION ALL SELECT format('%s: the chain knows that it was ended by %s', op_no, person) FROM said WHERE step IN ('REJECT', 'CANCEL')
ORDER BY 1
