-- A mother: the own child, its card, and the number under which the school reaches her.
\connect - parent_xu
SELECT student_id, name, gender, grade, class_no, phone, status FROM app.student;
SELECT guardian_id, relation, name, phone FROM app.guardian ORDER BY guardian_id;
SELECT card_no, status, balance FROM app.card;
SELECT count(*) > 0 AS own, count(*) FILTER (WHERE card_no <> 3205260000000008) AS others FROM app.card_transaction;
UPDATE app.student SET phone = '13952410008' WHERE student_id = 8 RETURNING phone;
-- A form that sends back what it was shown changes nothing; a new number is a new number, and shown masked.
UPDATE app.guardian SET phone = '189****6025' WHERE guardian_id = 13 RETURNING phone;
UPDATE app.guardian SET phone = '18912346026' WHERE guardian_id = 13 RETURNING phone;
-- No other child, however it is named; neither key data nor many rows.
SELECT name FROM app.student WHERE student_id = 9;
UPDATE app.student SET phone = '13952410009' WHERE student_id = 9;
SELECT count(*) FROM app.card WHERE card_no = 3205260000000009;
SELECT id_card FROM app.student WHERE student_id = 8;
UPDATE app.student SET name = '徐浩宇' WHERE student_id = 8;
DELETE FROM app.guardian;
