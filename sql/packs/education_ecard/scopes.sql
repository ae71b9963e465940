-- Which rows each post sees (manual 2.1): the parent the own child, the teacher the own school, the clerk the pupils of
-- own open orders, the regional administrator the schools of the own region. Loaded after persons.sql, by choice: with it,
-- COPY FROM is closed to these roles, and a clerk takes an order before looking at the pupil.
\set ON_ERROR_STOP on

-- Own child, by the link that makes the parent a guardian.
SELECT steward.set_scope('ecard_parent', 'app.student', 'student_id', 'guardian', via => 'app.guardian', assigned_column => 'guardian_id');
SELECT steward.set_scope('ecard_parent', 'app.guardian', 'guardian_id', 'guardian');
SELECT steward.set_scope('ecard_parent', 'app.card', 'student_id', 'guardian', via => 'app.guardian', assigned_column => 'guardian_id');
SELECT steward.set_scope('ecard_parent', 'app.card_transaction', 'card_no', via => 'app.card');

-- Own school.
SELECT steward.set_scope('ecard_teacher', 'app.student', 'school_id', 'school');
SELECT steward.set_scope('ecard_teacher', 'app.guardian', 'student_id', via => 'app.student');
SELECT steward.set_scope('ecard_teacher', 'app.card', 'student_id', via => 'app.student');

-- Purpose binding: pupils and cards of open orders that are the clerk's own; of orders, the own ones.
SELECT steward.set_scope('ecard_clerk', 'app.student', 'student_id', 'clerk', via => 'app.card_order', assigned_column => 'clerk',
    condition_column => 'status', condition_value => 'open');
SELECT steward.set_scope('ecard_clerk', 'app.card', 'student_id', 'clerk', via => 'app.card_order', assigned_column => 'clerk',
    condition_column => 'status', condition_value => 'open');
SELECT steward.set_scope('ecard_clerk', 'app.card_order', 'clerk', 'clerk');

-- Own region, by its schools.
SELECT steward.set_scope('ecard_region_admin', 'app.student', 'school_id', 'region', via => 'app.school', assigned_column => 'region_code');
SELECT steward.set_scope('ecard_region_admin', 'app.guardian', 'student_id', via => 'app.student');
SELECT steward.set_scope('ecard_region_admin', 'app.card', 'student_id', via => 'app.student');
SELECT steward.set_scope('ecard_region_admin', 'app.users', 'school_id', 'region', via => 'app.school', assigned_column => 'region_code');

SELECT steward.set_attribute('徐丽华', 'guardian', (SELECT array_agg(guardian_id::text) FROM app.guardian WHERE name = '徐丽华' AND student_id = 8));
SELECT steward.set_attribute('王雅琴', 'school', '{1}');
SELECT steward.set_attribute('李志强', 'school', '{2}');
SELECT steward.set_attribute('赵晓燕', 'clerk', '{clerk_zhao}');
SELECT steward.set_attribute('陈国栋', 'region', '{320508}');
SELECT steward.set_attribute('刘慧敏', 'region', '{320583}');
