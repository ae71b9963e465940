-- Loads the e-card pack into an empty home database, as a superuser:
--   psql -d school -f sql/packs/education_ecard/load.sql
-- It ends with the policy set up but not active: steward.activate() is the caller's decision.
\set ON_ERROR_STOP on
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
-- Only errors are of interest here; they go to stderr.
\o /dev/null
\ir schema.sql
\ir generate.sql
\ir check.sql
\ir roles.sql
\ir policy.sql
\ir persons.sql
\o
RESET client_min_messages;
\echo The e-card pack is loaded: 40 schools, 20480 students. Its policy waits for steward.activate().
