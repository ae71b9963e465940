-- A small school for the cluster tests: 200 students under policy, one login per post, nothing active yet.
-- The packs' demo data is a hundred times as large; a test wants a cluster of its own within a second.
CREATE EXTENSION pg_steward;

CREATE ROLE teacher_wang LOGIN;
CREATE ROLE region_chen LOGIN;
CREATE ROLE region_liu LOGIN;
CREATE ROLE reviewer_sun LOGIN;
CREATE ROLE reviewer_zhou LOGIN;
CREATE ROLE auditor_qian LOGIN;
CREATE ROLE clerk_zhao LOGIN;
CREATE ROLE security_han LOGIN;

CREATE SCHEMA app;
CREATE TABLE app.school (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE app.student (
    id        int PRIMARY KEY,
    school_id int NOT NULL REFERENCES app.school,
    name      text NOT NULL,
    id_card   text NOT NULL CONSTRAINT student_id_card_key UNIQUE,
    phone     text NOT NULL CONSTRAINT student_phone_format CHECK (phone ~ '^1[3-9]\d{9}$'),
    note      text NOT NULL DEFAULT ''
);
CREATE TABLE app.guardian (
    id         int PRIMARY KEY,
    student_id int NOT NULL REFERENCES app.student ON DELETE CASCADE,
    name       text NOT NULL
);
CREATE TABLE app.card_transaction (
    id        int NOT NULL,
    booked_on date NOT NULL,
    amount    numeric NOT NULL,
    PRIMARY KEY (id, booked_on)
) PARTITION BY RANGE (booked_on);
CREATE TABLE app.card_transaction_2026_10 PARTITION OF app.card_transaction
    FOR VALUES FROM ('2026-10-01') TO ('2026-11-01');
CREATE TABLE app.card_transaction_2026_11 PARTITION OF app.card_transaction
    FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');
-- Written by the load of the crash tests: one row per committed transaction.
CREATE TABLE app.entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client int NOT NULL);
-- Not under policy.
CREATE TABLE app.scratch (id int, note text);

INSERT INTO app.school SELECT n, 'school ' || n FROM generate_series(1, 4) AS n;
INSERT INTO app.student (id, school_id, name, id_card, phone)
    SELECT n, 1 + n % 4, 'student ' || n, 'ID' || n, '1380000' || lpad(n::text, 4, '0')
    FROM generate_series(1, 200) AS n;
-- Student 200 has sixty guardians, the others one at most.
INSERT INTO app.guardian SELECT n, CASE WHEN n <= 60 THEN 200 ELSE n END, 'guardian ' || n
    FROM generate_series(1, 160) AS n;
INSERT INTO app.card_transaction SELECT n, date '2026-10-01' + n % 61, n
    FROM generate_series(1, 200) AS n;

GRANT USAGE ON SCHEMA app TO PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO teacher_wang, region_chen, security_han;
GRANT SELECT ON ALL TABLES IN SCHEMA app TO region_liu, reviewer_sun, clerk_zhao;

SELECT steward.protect('app.student');
SELECT steward.protect('app.guardian');
SELECT steward.protect('app.card_transaction');
SELECT steward.protect('app.entry');
SECURITY LABEL FOR pg_steward ON COLUMN app.student.id_card IS 'id_card';

-- A test is about one thing: here these posts may act alone. Tests of that rule give it back to them.
SELECT steward.set_post('region_admin', '{apply,witness}');
SELECT steward.set_post('ops', '{apply,witness,break_glass}');

SELECT steward.register_person('Sun', 'reviewer', roles => '{reviewer_sun}');
SELECT steward.register_person('Zhou', 'reviewer', roles => '{reviewer_zhou}');
SELECT steward.register_person('Wang', 'teacher', roles => '{teacher_wang}');
SELECT steward.register_person('Chen', 'region_admin', roles => '{region_chen}');
SELECT steward.register_person('Liu', 'region_admin', roles => '{region_liu}');
SELECT steward.register_person('Qian', 'auditor', roles => '{auditor_qian}');
SELECT steward.register_person('Zhao', 'clerk', roles => '{clerk_zhao}');
SELECT steward.register_person('Han', 'security_officer', roles => '{security_han}');
-- The superuser is a person like everybody.
SELECT steward.register_person('Wu', 'ops', roles => '{postgres}');

-- Backups and standbys of the tests.
SELECT steward.set_login_policy('postgres', replication => true);

-- Codes are the subject of one file of tests; everywhere else they would only be in the way.
SELECT steward.set_tier_policy('critical', second_factor => false);
SELECT steward.set_tier_policy('important', second_factor => false);
-- Nor forms: they are the subject of form, role_form and incident.
SELECT steward.set_form('role_grant', demanded => false);
SELECT steward.set_form('incident', demanded => false);
