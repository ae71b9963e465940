-- The platform's own work: purchases, a top-up, a refund, an enrolment, a statement of account:  psql -U app_service -f app_service.sql
-- Prepared statements as a driver would send them; each purchase is a transaction of its own.
\set ON_ERROR_STOP on

PREPARE find_card (bigint) AS SELECT c.status, c.balance, s.name FROM app.card AS c JOIN app.student AS s USING (student_id) WHERE c.card_no = $1;
PREPARE move_money (bigint, numeric) AS UPDATE app.card SET balance = balance + $2, updated_at = now() WHERE card_no = $1 AND status = 'active';
PREPARE book (bigint, text, numeric, text) AS INSERT INTO app.card_transaction (card_no, kind, amount, merchant) VALUES ($1, $2, $3, $4);

-- Breakfast.
EXECUTE find_card(3205260000000008);
BEGIN; EXECUTE move_money(3205260000000008, -4.50); EXECUTE book(3205260000000008, 'purchase', -4.50, '面点窗口'); COMMIT;
BEGIN; EXECUTE move_money(3205260000000033, -6.00); EXECUTE book(3205260000000033, 'purchase', -6.00, '第一食堂'); COMMIT;
BEGIN; EXECUTE move_money(3205260000000047, -3.50); EXECUTE book(3205260000000047, 'purchase', -3.50, '第一食堂'); COMMIT;

-- A top-up, and lunch at several schools.
BEGIN; EXECUTE move_money(3205260000000102, 200.00); EXECUTE book(3205260000000102, 'top_up', 200.00, '微信支付'); COMMIT;
BEGIN; EXECUTE move_money(3205260000000104, -13.80); EXECUTE book(3205260000000104, 'purchase', -13.80, '第二食堂'); COMMIT;
BEGIN; EXECUTE move_money(3205260000007777, -15.00); EXECUTE book(3205260000007777, 'purchase', -15.00, '第一食堂'); COMMIT;
BEGIN; EXECUTE move_money(3205260000012000, -14.20); EXECUTE book(3205260000012000, 'purchase', -14.20, '第一食堂'); COMMIT;
BEGIN; EXECUTE move_money(3205260000018000, -18.60); EXECUTE book(3205260000018000, 'purchase', -18.60, '校园超市'); COMMIT;
BEGIN; EXECUTE move_money(3205260000018000, 3.60); EXECUTE book(3205260000018000, 'refund', 3.60, '校园超市'); COMMIT;

-- More than the card holds: the table's own check refuses, and the booking goes with it.
\set ON_ERROR_STOP off
BEGIN; EXECUTE book(3205260000000105, 'purchase', -9000.00, '文具店'); EXECUTE move_money(3205260000000105, -9000.00); COMMIT;
\set ON_ERROR_STOP on

-- A statement of account, page by page through a cursor.
BEGIN;
DECLARE statement_of_account NO SCROLL CURSOR FOR
    SELECT booked_at, kind, amount, merchant FROM app.card_transaction
    WHERE card_no BETWEEN 3205260000000001 AND 3205260000000030 AND booked_at >= '2026-09-01 00:00+08' ORDER BY booked_at;
FETCH 20 FROM statement_of_account;
FETCH 20 FROM statement_of_account;
CLOSE statement_of_account;
COMMIT;

-- A child who enrolled on the web site: student, guardian and card in one transaction.
BEGIN;
INSERT INTO app.student (school_id, grade, class_no, name, gender, birth_date, id_card, phone, address, enrolled_on)
VALUES (15, 5, 1, '令狐梦瑶', '女', '2016-04-18', '320583201604189443', '17712620418', '江苏省苏州市昆山市人民路99号翡翠湾12幢1203室', '2026-11-20')
RETURNING student_id AS web_child \gset
INSERT INTO app.guardian (student_id, name, relation, phone, is_primary) VALUES (:web_child, '令狐建国', '父亲', '17712620419', true);
INSERT INTO app.card (card_no, student_id, balance) VALUES (3205260000000000 + :web_child, :web_child, 0);
COMMIT;

DEALLOCATE ALL;
