-- Where operations are not what the audit chain says of them. $1: the number of one, or '' for all that may still run; $2: a
-- moment in seconds since 1970 from which on what was said may not have reached the chain. The chain alone knows of a row
-- that was put back to an earlier state with the seal of that time, and of votes that were written into the tables where
-- there is no key.
WITH online AS MATERIALIZED (
    -- Records of one moment may lie in two segments, the older of them archived.
    SELECT greatest(steward._record_time(c.record), gone.until) AS since, c.id > 1 AS is_cut,
        CASE WHEN c.id > 1 THEN greatest(steward._record_time(c.record), gone.until) ELSE '-infinity' END AS whole_since
    FROM (SELECT id, record FROM steward.chain ORDER BY id LIMIT 1) c,
        LATERAL (SELECT max(s.last_time) AS until FROM steward.segment s WHERE s.last_id < c.id) gone
), concerned AS MATERIALIZED (
    SELECT o.op_no, encode(o.digest, 'hex') AS digest FROM steward._operation o
    WHERE CASE WHEN $1 <> '' THEN o.op_no = $1
        ELSE o.origin = 'request' AND o.status IN ('submitted', 'approved', 'failed', 'armed') AND o.not_after > clock_timestamp() END
), event AS MATERIALIZED (
    -- What this transaction itself has done is in no record yet. The digest is that of the script as it stands there now.
    SELECT e.op_no, e.event AS step, e.person, e.at, concerned.digest, age(e.xmin) <= 0 AS own
    FROM concerned JOIN steward._operation_event e USING (op_no)
), told AS MATERIALIZED (
    SELECT c.op_no, said.step, said.person, steward._record_time(c.record) AS at,
        substring(steward._record_text(c.record, 20) FROM '"digest":"([0-9a-f]{64})"') AS digest
    FROM (SELECT record, steward._record_text(record, 14) AS op_no FROM steward.chain
            WHERE $1 <> '' AND steward._record_text(record, 1) = 'operation' AND steward._record_text(record, 14) = $1
        -- No index has what is written so. The text is looked for first: of millions of records it leaves a handful to decode.
        UNION ALL SELECT record, steward._record_text(record, 14) FROM steward.chain
            WHERE $1 = '' AND EXISTS (SELECT FROM concerned) AND position('"digest":'::bytea IN record) > 0
                AND steward._record_text(record, 1) || '' = 'operation'
                AND steward._record_text(record, 14) || '' = ANY (ARRAY(SELECT op_no FROM concerned))
        OFFSET 0) c,
        LATERAL (SELECT
            coalesce(steward._record_text(c.record, 9), (SELECT steward._defined_text(d.record, 9) FROM steward._definition d
                WHERE d.id = steward._record_reference(c.record, 24))) AS step,
            coalesce(steward._record_text(c.record, 5), (SELECT steward._defined_text(d.record, 5) FROM steward._definition d
                WHERE d.id = steward._record_reference(c.record, 23))) AS person) said
    -- Each of these is a record with a digest and a line of the trail, in one transaction. NULL: the definition is not found.
    WHERE steward._record_text(c.record, 15) = 'SUCCESS' AND coalesce(said.step, 'EXECUTE') IN
        ('REQUEST', 'APPROVE', 'RENEW', 'CONFIRM', 'ANSWER', 'ARM', 'EXECUTE', 'REVIEW', 'REJECT', 'CANCEL')
), online_step AS MATERIALIZED (
    SELECT t.* FROM told t, online WHERE t.at > online.whole_since
)
SELECT e.op_no, 'differs', format('the chain knows of no %s by %s for these bytes', e.step, e.person)
FROM event e, online
WHERE e.step IN ('REQUEST', 'APPROVE', 'RENEW', 'CONFIRM') AND e.person IS NOT NULL AND NOT e.own
    AND e.at > online.since AND e.at NOT BETWEEN to_timestamp($2::float8) AND clock_timestamp()
    AND NOT EXISTS (SELECT FROM told t WHERE (t.op_no, t.step, t.person, t.digest) = (e.op_no, e.step, e.person, e.digest))
UNION ALL SELECT t.op_no, 'differs', format('the chain knows of %s %s, the operation of %s', t.count, t.step, lines.count)
FROM online, (SELECT op_no, step, count(*) FROM online_step GROUP BY op_no, step) t,
    -- A record is made a moment after its line.
    LATERAL (SELECT count(*) FROM event e
        WHERE e.op_no = t.op_no AND e.step = t.step AND e.at > online.whole_since - interval '5 seconds') lines
WHERE t.count > lines.count
UNION ALL SELECT op_no, 'differs', 'a record of it says no step' FROM told WHERE step IS NULL
UNION ALL SELECT c.op_no, 'archived', 'no record of it is online'
FROM concerned c, online
WHERE online.is_cut AND NOT EXISTS (SELECT FROM online_step t WHERE t.op_no = c.op_no)
    AND NOT EXISTS (SELECT FROM event e WHERE e.op_no = c.op_no AND e.own)
ORDER BY 1, 2, 3
