-- A policy of bench.size rules and as many protected tables beside the installed rules, before steward.activate(). Each
-- table has a rule of its own. Written straight into the policy's tables, which are open until then, and without the
-- trigger that serves restores: one statement for each row would read the growing policy again each time.
SET synchronous_commit = off;
DO $$
BEGIN
    FOR n IN 1..current_setting('bench.size')::int LOOP
        EXECUTE format('CREATE TABLE table_%s (id int PRIMARY KEY, value int)', n);
        -- Each table takes locks until its transaction ends.
        COMMIT;
    END LOOP;
END $$;
SET session_replication_role = replica;
INSERT INTO steward.rule (name, tier, commands, relation_pattern)
    SELECT 'rule_' || n, 'normal', '{UPDATE}', format('^public\.table_%s$', n)
    FROM generate_series(1, current_setting('bench.size')::int) AS n;
INSERT INTO steward.protected (relation)
    SELECT format('table_%s', n)::regclass FROM generate_series(1, current_setting('bench.size')::int) AS n;
