-- Operations: the server, its sizes and sessions; no business data, not in the statistics either.
\connect - ops_wu
SELECT count(*) > 0 AS sessions FROM pg_stat_activity WHERE datname = current_database();
SELECT pg_database_size(current_database()) > 0 AS size;
SELECT name FROM app.student LIMIT 1;
SELECT count(*) FROM pg_stats WHERE schemaname = 'app' AND tablename IN ('student', 'guardian');
SELECT count(*) FROM pg_stat_activity WHERE query ~ '13862051120' AND pid <> pg_backend_pid();
SELECT * FROM steward.classify('SELECT name FROM app.student') \gx
ALTER SYSTEM SET log_statement = 'all';
-- The superuser is the same person, and no exception.
\connect - postgres
SELECT current_user, count(*) > 20000 AS pupils FROM app.student;
DROP TABLE app.card_order;
UPDATE app.student SET phone = '13800000000' WHERE school_id = 1;
SELECT steward.set_mask('ecard_clerk', 'phone', 'none');
