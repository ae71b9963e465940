-- The extension with its installed rules, and the persons without whom steward.activate() refuses: the load's login is an
-- application; the others only have to exist. Nobody is there to
-- type codes.
CREATE EXTENSION pg_steward;
CREATE ROLE reviewer LOGIN;
CREATE ROLE second LOGIN;
CREATE ROLE auditor LOGIN;
SELECT steward.register_person('Application', 'service', roles => '{bench}');
SELECT steward.register_person('Superuser', 'ops', roles => '{postgres}');
SELECT steward.register_person('Reviewer', 'reviewer', roles => '{reviewer}');
SELECT steward.register_person('Second', 'region_admin', roles => '{second}');
SELECT steward.register_person('Auditor', 'auditor', roles => '{auditor}');
SELECT steward.set_tier_policy('critical', second_factor => false);
SELECT steward.set_tier_policy('important', second_factor => false);
