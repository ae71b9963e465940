-- One table seen clear, masked and through views, and copies of it with row security in the forms that people write.
CREATE TABLE pupil (id int PRIMARY KEY, school_id int NOT NULL, name text NOT NULL, phone text NOT NULL, score int NOT NULL);
INSERT INTO pupil SELECT n, 1 + n % 500, 'pupil ' || n, '1380000' || lpad((n % 10000)::text, 4, '0'), n % 100
    FROM generate_series(1, current_setting('bench.rows')::int) AS n;
CREATE INDEX ON pupil (school_id);

CREATE ROLE masked LOGIN;
CREATE ROLE scoped LOGIN;
SECURITY LABEL FOR pg_steward ON COLUMN pupil.phone IS 'phone';
SECURITY LABEL FOR pg_steward ON COLUMN pupil.name IS 'name';
SELECT steward.set_mask('masked', '*');
CREATE VIEW pupil_view AS SELECT id, school_id, overlay(phone PLACING '****' FROM 4 FOR 4) AS phone FROM pupil;
CREATE VIEW pupil_case AS SELECT id, school_id,
    CASE WHEN pg_has_role('masked', 'MEMBER') THEN overlay(phone PLACING '****' FROM 4 FOR 4) ELSE phone END AS phone FROM pupil;

CREATE TABLE pupil_plain (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_scope (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_setting (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_function (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_in (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_exists (LIKE pupil INCLUDING ALL);
CREATE TABLE pupil_any (LIKE pupil INCLUDING ALL);
INSERT INTO pupil_plain TABLE pupil;
INSERT INTO pupil_scope TABLE pupil;
INSERT INTO pupil_setting TABLE pupil;
INSERT INTO pupil_function TABLE pupil;
INSERT INTO pupil_in TABLE pupil;
INSERT INTO pupil_exists TABLE pupil;
INSERT INTO pupil_any TABLE pupil;
ALTER TABLE pupil_setting ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pupil_setting USING (school_id = current_setting('bench.school')::int);
CREATE FUNCTION may_see(school int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN school = 7; END $$;
ALTER TABLE pupil_function ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pupil_function USING (may_see(school_id));
CREATE TABLE school_of (login name, school_id int);
INSERT INTO school_of VALUES ('scoped', 7);
ALTER TABLE pupil_in ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pupil_in USING (school_id IN (SELECT school_id FROM school_of WHERE login = current_user));
ALTER TABLE pupil_exists ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pupil_exists
    USING (EXISTS (SELECT FROM school_of s WHERE s.login = current_user AND s.school_id = pupil_exists.school_id));
ALTER TABLE pupil_any ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON pupil_any USING (school_id = ANY (ARRAY(SELECT school_id FROM school_of WHERE login = current_user)));
SELECT steward.protect('pupil_scope');
SELECT steward.register_person('Teacher', 'teacher', roles => '{scoped}');
SELECT steward.set_scope('scoped', 'pupil_scope', 'school_id', 'school');
SELECT steward.set_attribute('Teacher', 'school', '{7}');
ALTER ROLE scoped SET bench.school = '7';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO bench, masked, scoped;
VACUUM ANALYZE;
