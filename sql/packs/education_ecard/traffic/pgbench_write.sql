-- A purchase:  pgbench -n -M prepared -U app_service -f pgbench_write.sql
-- Cards of students 64, 128, … were replaced and are empty: they are left out. Cents only, so that balances last.
\set card_no 3205260000000000 + random(0, 319) * 64 + random(1, 63)
\set cents random(1, 20)
BEGIN;
UPDATE app.card SET balance = balance - :cents / 100.0, updated_at = now() WHERE card_no = :card_no;
INSERT INTO app.card_transaction (card_no, kind, amount, merchant) VALUES (:card_no, 'purchase', :cents / -100.0, '第一食堂');
COMMIT;
