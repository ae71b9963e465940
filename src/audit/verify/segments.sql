WITH attached AS (
    SELECT c.oid, substr(c.relname, 7)::bigint AS number FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'steward.chain'::regclass AND c.relnamespace = 'steward'::regnamespace
        AND c.relname ~ '^chain_[1-9][0-9]{0,8}$'
), closed AS (
    SELECT s.*, lag(s.last_id, 1, 0) OVER (ORDER BY s.number) AS before, lag(s.number) OVER (ORDER BY s.number) AS former
    FROM steward.segment s
), open AS (SELECT coalesce(max(number), 0) + 1 AS number, coalesce(max(last_id), 0) + 1 AS first_id FROM steward.segment)
SELECT 'steward.chain lacks its segment chain_' || s.number FROM steward.segment s
    WHERE s.prune_id IS NULL AND NOT EXISTS (SELECT FROM attached a WHERE a.number = s.number)
UNION ALL
SELECT 'steward.chain lacks its open segment chain_' || o.number FROM open o
    WHERE NOT EXISTS (SELECT FROM attached a WHERE a.number = o.number)
UNION ALL
SELECT 'steward.chain has chain_' || a.number || ', of which steward.segment knows nothing' FROM attached a, open o
    WHERE a.number <> o.number AND NOT EXISTS (SELECT FROM steward.segment s WHERE s.number = a.number)
UNION ALL
SELECT format('steward.segment has number %s from %s to %s behind record %s', c.number, c.first_id, c.last_id, c.before)
    FROM closed c WHERE c.first_id <> c.before + 1 OR c.last_id < c.first_id OR c.number <> c.former + 1
UNION ALL
SELECT format('steward.chain_%s has the bounds CHECK (%s)', a.number, pg_get_expr(k.conbin, k.conrelid)) FROM attached a
    JOIN pg_constraint k ON k.conrelid = a.oid AND k.conname = 'bounds'
    LEFT JOIN steward.segment s ON s.number = a.number
    WHERE pg_get_expr(k.conbin, k.conrelid) IS DISTINCT FROM format('((id >= %s) AND (id <= %s))', s.first_id, s.last_id)
