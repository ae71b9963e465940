-- A mother looks at her child (student 8):  psql -U parent_xu -f parent_xu.sql
\set ON_ERROR_STOP on

SELECT student_id, name, grade, class_no, status FROM app.student WHERE student_id = 8;
SELECT card_no, status, balance FROM app.card WHERE student_id = 8;
SELECT booked_at, amount, merchant FROM app.card_transaction WHERE card_no = 3205260000000008 ORDER BY booked_at DESC LIMIT 5;
UPDATE app.student SET phone = '13952410008' WHERE student_id = 8;

-- Not hers to change: no right on this column, policy or not.
\set ON_ERROR_STOP off
UPDATE app.student SET name = '徐浩宇' WHERE student_id = 8;
\set ON_ERROR_STOP on
