-- The pgbench tables under an active policy; bench is the application's login.
CREATE EXTENSION pg_steward;

CREATE ROLE reviewer LOGIN;
CREATE ROLE witness LOGIN;
CREATE ROLE auditor LOGIN;
SELECT steward.register_person('Reviewer', 'reviewer', roles => '{reviewer}');
SELECT steward.register_person('Witness', 'region_admin', roles => '{witness}');
SELECT steward.register_person('Auditor', 'auditor', roles => '{auditor}');
SELECT steward.register_person('Operations', 'ops', roles => '{postgres}');
SELECT steward.register_person('Application', 'service', roles => '{bench}');

SELECT steward.protect('pgbench_accounts');
SELECT steward.protect('pgbench_branches');
SELECT steward.protect('pgbench_tellers');
SELECT steward.protect('pgbench_history');
SELECT steward.activate();
