-- The pgbench tables under the card platform's policy, which is loaded already and becomes active here; bench is one more
-- application's login.
SELECT steward.register_person('Application', 'service', roles => '{bench}');
SELECT steward.protect('pgbench_accounts');
SELECT steward.protect('pgbench_branches');
SELECT steward.protect('pgbench_tellers');
SELECT steward.protect('pgbench_history');
SELECT steward.activate();
