-- The extension's own objects that are not as they were installed: gone, come, changed, or handed to another owner. What
-- the server words itself (all but functions) reads differently in another major version, and is compared within one only.
SELECT format('%s %s %s', coalesce(kept.kind, now.kind), coalesce(kept.identity, now.identity),
        CASE WHEN now.digest IS NULL THEN 'is missing' WHEN kept.digest IS NULL THEN 'was added' ELSE 'was changed' END)
    FROM steward._own_object kept FULL JOIN steward._own_objects() now ON (kept.kind, kept.identity) = (now.kind, now.identity)
    WHERE kept.digest IS NULL OR now.digest IS NULL OR kept.digest <> now.digest
        AND (kept.kind = 'function' OR kept.server = current_setting('server_version_num')::int / 10000)
ORDER BY 1
