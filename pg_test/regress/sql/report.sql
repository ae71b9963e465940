-- Reports: their arguments, their shape, and whom they are for.
SELECT split_part(steward.security_report(now() - interval '1 day', now(), language => 'en'), E'\n', 1);
SELECT left(steward.security_report(now() - interval '1 day', now(), 'html'), 15);
SELECT steward.security_report(now(), now());
SELECT steward.security_report(now() - interval '1 day', now(), 'pdf');
SELECT genuine FROM steward.check_report('nothing');
-- What an assessor gets: every control point once, each answered by a query of its own.
SELECT * FROM steward.mlps_report() LIMIT 0;
SELECT code, high_risk, query IS NOT NULL AS asked,
    verdict IN ('conforms', 'partly', 'fails', 'not_applicable', 'unknown', 'organisational') AND facts <> '' AS judged
FROM steward.mlps_report();
SELECT code, verdict FROM steward.mlps_report() WHERE code IN ('L3-CES1-09', 'L3-CES1-15', 'L3-CES1-23');
SELECT count(*) > 0 AS found, bool_and(result = 'DENIED' AND tier = 'critical') AS right
FROM steward.search_log(now() - interval '1 day', now(), tier => 'critical', result => 'DENIED');
SELECT * FROM steward.search_log(now(), now());
\connect - clerk_zhao
SELECT steward.security_report(now() - interval '1 day', now());
SELECT * FROM steward.search_log(now() - interval '1 day', now());
SELECT * FROM steward.mlps_report();
\connect - postgres
