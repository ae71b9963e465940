-- The pack, its scopes and its masks, active. Codes of the second factor are not what these sessions are about.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set load :abs_srcdir '/../../../sql/packs/education_ecard/load.sql'
\set scopes :abs_srcdir '/../../../sql/packs/education_ecard/scopes.sql'
\set masks :abs_srcdir '/../../../sql/packs/education_ecard/masks.sql'
\o /dev/null
\i :load
\o /dev/null
\i :scopes
\i :masks
SET client_min_messages = warning;
SELECT steward.set_tier_policy('critical', second_factor => false);
SELECT steward.set_tier_policy('important', second_factor => false);
SELECT steward.activate();
\o
RESET client_min_messages;
\set ECHO all
SELECT role, class, mask, predicate FROM steward.mask_rule ORDER BY role::text, class;
