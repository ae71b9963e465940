-- Login roles of the persons, each a member of its post's group role. No passwords: the demo authenticates over
-- a unix socket; on a real server each owner sets one (\password) and pg_hba.conf says scram-sha-256.
\set ON_ERROR_STOP on

CREATE TEMP TABLE login (name text PRIMARY KEY, group_role text NOT NULL);
INSERT INTO login VALUES
    ('teacher_wang', 'ecard_teacher'),
    ('teacher_li',   'ecard_teacher'),
    ('clerk_zhao',   'ecard_clerk'),
    ('region_chen',  'ecard_region_admin'),
    ('region_liu',   'ecard_region_admin'),
    ('reviewer_sun', 'ecard_reviewer'),
    ('reviewer_zhou','ecard_reviewer'),
    ('auditor_qian', 'ecard_auditor'),
    ('ops_wu',       'ecard_ops'),
    ('ops_zheng',    'ecard_ops'),
    ('security_han', 'ecard_security'),
    ('parent_xu',    'ecard_parent'),
    ('app_service',  'ecard_service'),
    ('job_nightly',  'ecard_service');

SELECT format('CREATE ROLE %I LOGIN', name)
FROM login WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login.name) ORDER BY name \gexec
SELECT format('GRANT %I TO %I', group_role, name)
FROM login
WHERE NOT EXISTS (SELECT FROM pg_auth_members
                  WHERE roleid = group_role::regrole AND member = name::regrole) ORDER BY name \gexec
DROP TABLE login;
