-- A clerk's morning: card replacements from the query to the new card:  psql -U clerk_zhao -f clerk_zhao.sql
\set ON_ERROR_STOP on

-- The orders that wait.
SELECT order_id, student_id, kind, created_at FROM app.card_order WHERE status = 'open' ORDER BY created_at, order_id LIMIT 10;

-- 1. A mother reports a lost card: who is it, block it, open the order.
SELECT student_id, name, grade, class_no, status FROM app.student WHERE student_id = 101;
SELECT card_no, status FROM app.card WHERE student_id = 101;
BEGIN;
UPDATE app.card SET status = 'lost', updated_at = now() WHERE card_no = 3205260000000101 AND status = 'active';
INSERT INTO app.card_order (student_id, old_card_no, kind, clerk) VALUES (101, 3205260000000101, 'lost', 'clerk_zhao')
RETURNING order_id AS lost_order \gset
COMMIT;

-- The new card is ready: hand it out and close the order.
BEGIN;
INSERT INTO app.card (card_no, student_id, status, issued_on) VALUES (3205270000000101, 101, 'active', current_date);
UPDATE app.card_order SET status = 'closed', new_card_no = 3205270000000101, closed_at = now() WHERE order_id = :lost_order AND status = 'open';
COMMIT;

-- 2. A broken card, the same way.
SELECT student_id, name, grade, class_no, status FROM app.student WHERE student_id = 2001;
BEGIN;
UPDATE app.card SET status = 'damaged', updated_at = now() WHERE card_no = 3205260000002001 AND status = 'active';
INSERT INTO app.card (card_no, student_id, status, issued_on) VALUES (3205270000002001, 2001, 'active', current_date);
INSERT INTO app.card_order (student_id, old_card_no, new_card_no, kind, status, clerk, closed_at)
VALUES (2001, 3205260000002001, 3205270000002001, 'damaged', 'closed', 'clerk_zhao', now());
COMMIT;

-- 3. A family withdraws its order.
UPDATE app.card_order SET status = 'cancelled', closed_at = now()
WHERE order_id = (SELECT max(order_id) FROM app.card_order WHERE student_id = 6112 AND status = 'open');

-- What the clerk may not see stays unseen: no right on this column, policy or not.
\set ON_ERROR_STOP off
SELECT id_card, address FROM app.student WHERE student_id = 101;
\set ON_ERROR_STOP on

-- The day's figures.
SELECT status, count(*), sum(fee) FROM app.card_order WHERE clerk = 'clerk_zhao' GROUP BY status ORDER BY status;
