-- A teacher's day at 姑苏区平江路小学 (school 1):  psql -U teacher_wang -f teacher_wang.sql
-- Look-ups, four phone changes, two enrolments. Run once per fresh database: identity numbers are unique.
\set ON_ERROR_STOP on

-- Morning: the class lists.
SELECT grade, class_no, count(*) FROM app.student WHERE school_id = 1 AND status = 'enrolled' GROUP BY grade, class_no ORDER BY grade, class_no;
SELECT student_id, name, gender, phone FROM app.student WHERE school_id = 1 AND grade = 1 AND class_no = 2 ORDER BY student_id LIMIT 20;
SELECT s.name, g.relation, g.name AS guardian, g.phone
FROM app.student AS s JOIN app.guardian AS g USING (student_id)
WHERE s.school_id = 1 AND s.student_id = 20 ORDER BY g.is_primary DESC;

-- Families report new numbers: not sensitive, row by row.
UPDATE app.student SET phone = '13862051120', updated_at = now() WHERE student_id = 20 AND school_id = 1;
UPDATE app.student SET phone = '15850130033', updated_at = now() WHERE student_id = 33 AND school_id = 1;
BEGIN;
UPDATE app.student SET phone = '18962180047', updated_at = now() WHERE student_id = 47 AND school_id = 1;
SELECT phone FROM app.student WHERE student_id = 47;
COMMIT;
-- A typing error, noticed in time.
BEGIN;
UPDATE app.student SET phone = '13800000000', updated_at = now() WHERE student_id = 48 AND school_id = 1;
ROLLBACK;

-- Two children enrol, each with a guardian, in one transaction.
BEGIN;
INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
VALUES (1, 1, 2, '诸葛云帆', '男', '2020-03-15', '320508202003159112', '13915520311', '江苏省苏州市姑苏区平江路58号馨园3幢501室', '2026-11-20')
RETURNING student_id AS first_child \gset
INSERT INTO app.guardian (student_id, name, relation, phone, is_primary)
VALUES (:first_child, '诸葛文远', '父亲', '13915520312', true);
COMMIT;
BEGIN;
WITH child AS (
    INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
    VALUES (1, 1, 1, '沈语桐', '女', '2019-11-07', '320508201911079228', '18862301107', '江苏省苏州市姑苏区大儒巷21号水香苑8幢302室', '2026-11-20')
    RETURNING student_id
)
INSERT INTO app.guardian (student_id, name, relation, phone, is_primary)
SELECT student_id, '顾晓蕾', '母亲', '18862301108', true FROM child;
COMMIT;

-- Afternoon: a card was found in the playground; a pupil comes back after an illness.
SELECT c.card_no, c.status, s.name, s.class_no FROM app.card AS c JOIN app.student AS s USING (student_id) WHERE c.card_no = 3205260000000103;
UPDATE app.student SET status = 'enrolled', updated_at = now() WHERE student_id = 36 AND school_id = 1 AND status = 'suspended';
SELECT status, count(*) FROM app.student WHERE school_id = 1 GROUP BY status ORDER BY status;
