-- A reviewer: reads everything in order to judge, masked; changes nothing, and approves what others have filed.
\connect - reviewer_sun
SELECT count(*) FROM app.student;
SELECT student_id, name, id_card, phone, birth_date, address FROM app.student WHERE student_id IN (20, 5000) ORDER BY student_id;
SELECT relation, name, phone FROM app.guardian WHERE student_id = 20 ORDER BY guardian_id;
SELECT person_name, post, phone FROM app.users ORDER BY user_id LIMIT 3;
SELECT to_jsonb(s) - 'updated_at' - 'enrolled_on' AS whole FROM app.student s WHERE student_id = 5000;
CREATE TEMP TABLE kept AS SELECT name, phone FROM app.student WHERE student_id = 5000;
TABLE kept;
UPDATE app.student SET phone = '13800000000' WHERE student_id = 20;
DELETE FROM app.guardian WHERE student_id = 20;
-- What waits for a vote shows its statement, in full: what is approved is read.
\connect - region_chen
SELECT steward.request($$DELETE FROM app.guardian WHERE student_id = 105 AND NOT is_primary$$, purpose => 'entered twice', expected_rows => 1) AS op_no \gset
\connect - reviewer_sun
SELECT waits_for, tier, applicant, purpose, script FROM steward.inbox WHERE op_no = :'op_no';
SELECT digest FROM steward.show(:'op_no') \gset
SELECT steward.approve(:'op_no', :'digest');
SELECT steward.execute(:'op_no');
