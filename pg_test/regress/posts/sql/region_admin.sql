-- A regional administrator: the schools of the own region with their sensitive data; changes with a colleague alone.
\connect - region_chen
SELECT DISTINCT region_code FROM app.student JOIN app.school USING (school_id);
SELECT student_id, name, id_card, phone, birth_date, address FROM app.student WHERE student_id = 102;
SELECT count(*) FROM app.student JOIN app.school USING (school_id) WHERE region_code = '320583';
UPDATE app.student SET address = '江苏省苏州市姑苏区书院巷16号' WHERE student_id = 102;
SELECT steward.request($$UPDATE app.student SET address = '江苏省苏州市姑苏区书院巷16号' WHERE student_id = 102$$,
    purpose => 'the family has moved', expected_rows => 1) AS op_no \gset
SELECT digest FROM steward.show(:'op_no') \gset
-- Nobody approves the own work; the colleague of another region stands by, and sees no more for that.
SELECT steward.approve(:'op_no', :'digest');
\connect - reviewer_sun
SELECT steward.approve(:'op_no', :'digest');
\connect - region_liu
SELECT name FROM app.student WHERE student_id = 102;
SELECT steward.confirm(:'op_no', :'digest');
\connect - region_chen
SELECT step, rows FROM steward.execute(:'op_no');
SELECT address FROM app.student WHERE student_id = 102;
DELETE FROM app.student WHERE student_id = 102;
GRANT ecard_region_admin TO teacher_li;
