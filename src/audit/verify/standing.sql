WITH audit AS (
    SELECT c.*, CASE WHEN i.inhrelid IS NULL THEN c.relname::text
            WHEN c.relnamespace = s.oid AND c.relname ~ '^chain_[1-9][0-9]{0,8}$' THEN 'chain_N' END AS model
    FROM pg_namespace s, pg_class c
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = to_regclass('steward.chain')
    WHERE s.nspname = 'steward' AND (i.inhrelid IS NOT NULL OR c.relnamespace = s.oid AND c.relname IN ('chain',
        'definition', 'installation', 'journal_0', 'journal_1', 'journal_2', 'journal_taken', 'ledger', 'segment', 'spool_offset'))
), property (oid, property) AS (
    SELECT c.oid, format('kind %s, persistence %s, row security %s %s', c.relkind, c.relpersistence, c.relrowsecurity,
        c.relforcerowsecurity) FROM audit c
    UNION ALL
    SELECT c.oid, format('access method %s', m.amname) FROM audit c JOIN pg_am m ON m.oid = c.relam WHERE c.model = 'chain_N'
    UNION ALL
    SELECT c.oid, format('column %s %I %s%s%s%s', row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), a.attname,
        format_type(a.atttypid, a.atttypmod), ' COLLATE ' || (SELECT a.attcollation::regcollation::text FROM pg_type t
            WHERE t.oid = a.atttypid AND t.typcollation <> a.attcollation),
        ' generated ' || nullif(a.attgenerated::text, ''), ' identity ' || nullif(a.attidentity::text, ''))
    FROM audit c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT c.oid, format('not null %I', a.attname)
    FROM audit c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
    UNION ALL
    SELECT c.oid, format('default %I %s', a.attname, pg_get_expr(d.adbin, d.adrelid))
    FROM audit c JOIN pg_attrdef d ON d.adrelid = c.oid
        JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    UNION ALL
    -- No pg_get_constraintdef: it asks the transaction's snapshot, and knows nothing that is newer.
    SELECT c.oid, concat('constraint ', CASE k.contype WHEN 'c' THEN format('CHECK (%s)', pg_get_expr(k.conbin, k.conrelid))
            WHEN 'p' THEN format('PRIMARY KEY (%s)', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY key.place)
                FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
                    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.number))
            ELSE format('%s %I', k.contype, k.conname) END,
        CASE WHEN k.connoinherit AND k.contype = 'c' THEN ' NO INHERIT' END, CASE WHEN k.condeferrable THEN ' DEFERRABLE' END,
        CASE WHEN NOT k.convalidated THEN ' NOT VALID' END)
    FROM audit c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype NOT IN ('n', 't')
    WHERE k.conname <> 'bounds' OR c.model <> 'chain_N'
    UNION ALL
    SELECT c.oid, format('index %s%s', pg_get_indexdef(x.indexrelid),
        CASE WHEN NOT (x.indisvalid AND x.indisready AND x.indislive) THEN ' INVALID' END)
    FROM audit c JOIN pg_index x ON x.indrelid = c.oid
    UNION ALL
    SELECT c.oid, format('trigger %s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM audit c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
    UNION ALL
    SELECT c.oid, 'rule ' || pg_get_ruledef(r.oid) FROM audit c JOIN pg_rewrite r ON r.ev_class = c.oid
    UNION ALL
    SELECT c.oid, format('policy %I', p.polname) FROM audit c JOIN pg_policy p ON p.polrelid = c.oid
    UNION ALL
    SELECT c.oid, 'inherits ' || i.inhparent::regclass FROM audit c JOIN pg_inherits i ON i.inhrelid = c.oid
    UNION ALL
    SELECT c.oid, 'is inherited by ' || i.inhrelid::regclass FROM audit c JOIN pg_inherits i ON i.inhparent = c.oid
    WHERE c.relname <> 'chain' OR c.model = 'chain_N'
)
SELECT c.model, c.oid::regclass, CASE c.model WHEN 'chain_N' THEN replace(p.property, c.relname, c.model) ELSE p.property END,
    c.oid
FROM audit c JOIN property p ON p.oid = c.oid ORDER BY c.oid
