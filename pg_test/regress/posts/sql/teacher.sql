-- A teacher: the own school, telephone numbers of families; identity numbers and addresses masked.
\connect - teacher_wang
SELECT school_id, count(*) FROM app.student GROUP BY school_id;
SELECT student_id, name, phone, id_card, birth_date, address FROM app.student WHERE student_id BETWEEN 20 AND 23 ORDER BY student_id;
SELECT s.name, g.relation, g.name AS guardian, g.phone FROM app.student s JOIN app.guardian g USING (student_id)
    WHERE s.student_id = 20 ORDER BY g.guardian_id;
PREPARE pupil(bigint) AS SELECT name, id_card FROM app.student WHERE student_id = $1;
EXECUTE pupil(20);
EXECUTE pupil(513);
-- Conditions see the mask: neither the number nor its order can be asked for.
SELECT count(*) FROM app.student WHERE id_card LIKE '32050820%';
SELECT count(DISTINCT birth_date) < 12 AS school_years FROM app.student;
UPDATE app.student SET phone = '13862051120', updated_at = now() WHERE student_id = 20 RETURNING name, phone, id_card;
UPDATE app.student SET class_no = 2 WHERE student_id = 21 RETURNING class_no, address;
-- Enrolment, in the own school alone.
INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
    VALUES (1, 1, 2, '诸葛云帆', '男', '2020-03-15', '320508202003159112', '13915520311', '江苏省苏州市姑苏区平江路58号', '2026-11-20')
    RETURNING name, id_card, birth_date, address;
INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
    VALUES (2, 1, 2, '沈语桐', '女', '2019-11-07', '320508201911079228', '18862301107', '江苏省苏州市姑苏区大儒巷21号', '2026-11-20');
-- Refused: what belongs to others, removal, whole tables, many rows.
UPDATE app.student SET status = 'transferred' WHERE student_id = 513;
UPDATE app.student SET id_card = '320508202003159112' WHERE student_id = 20;
DELETE FROM app.student WHERE student_id = 20;
UPDATE app.student SET grade = grade + 1 WHERE grade < 12;
SET row_security = off;
SELECT count(*) FROM app.student;
