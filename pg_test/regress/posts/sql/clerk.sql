-- A clerk: pupils with an open order of the own, to hand out cards; nothing that finds a child elsewhere.
\connect - clerk_zhao
SELECT count(*) > 0 AS waiting, count(*) = count(DISTINCT student_id) AS once_each FROM app.student JOIN app.card_order o USING (student_id)
    WHERE o.status = 'open';
-- No order, no purpose.
SELECT name FROM app.student WHERE student_id = 101;
INSERT INTO app.card_order (student_id, old_card_no, kind, clerk) VALUES (101, 3205260000000101, 'lost', 'clerk_zhao') RETURNING kind, status;
SELECT name, grade, class_no, phone, id_card, birth_date, address FROM app.student WHERE student_id = 101;
-- The caller says a number: it is the pupil's, or not.
SELECT name, phone FROM app.student WHERE student_id = 101 AND phone = '13800000000';
SELECT name FROM app.student WHERE student_id = 101 AND phone LIKE '13%0';
SELECT name FROM app.student WHERE id_card = '320508202003159112';
UPDATE app.card SET status = 'lost', updated_at = now() WHERE card_no = 3205260000000101 AND status = 'active' RETURNING card_no, status;
UPDATE app.card_order SET status = 'cancelled', closed_at = now() WHERE student_id = 101 AND status = 'open' RETURNING status;
SELECT count(*) FROM app.student WHERE student_id = 101;
-- Refused: orders of others, changes of pupils, guardians, money, export.
INSERT INTO app.card_order (student_id, old_card_no, kind, clerk) VALUES (102, 3205260000000102, 'lost', 'somebody');
UPDATE app.student SET name = 'x';
SELECT phone FROM app.guardian;
UPDATE app.card SET balance = 100;
COPY app.student TO STDOUT;
