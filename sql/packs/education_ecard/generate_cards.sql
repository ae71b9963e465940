-- Cards, replacement orders and the ledger, as of 20 November 2026. Part of generate.sql, whose helpers it uses.
-- A first card's number is 3205260000000000 + student_id, a replacement's 3205270000000000 + student_id.
\set ON_ERROR_STOP on
\set first_card 3205260000000000
\set new_card   3205270000000000

-- Every 64th student lost or broke the first card and got another one.
CREATE TEMP TABLE replacement AS
SELECT student_id, :first_card + student_id AS old_card_no, :new_card + student_id AS new_card_no,
       CASE WHEN pg_temp.pick(student_id, 'loss', 3) = 0 THEN 'damaged' ELSE 'lost' END AS kind,
       timestamptz '2026-11-02 08:30+08' + pg_temp.pick(student_id, 'order', 14 * 9 * 60) / 540 * interval '1 day'
           + pg_temp.pick(student_id, 'order', 14 * 9 * 60) % 540 * interval '1 minute' AS created_at
FROM app.student WHERE student_id % 64 = 0;

INSERT INTO app.card (card_no, student_id, status, issued_on, updated_at)
SELECT :first_card + student_id, student_id, coalesce(r.kind, 'active'), '2026-09-01',
       coalesce(r.created_at, '2026-09-01 08:00+08')
FROM app.student LEFT JOIN replacement AS r USING (student_id) ORDER BY student_id;
INSERT INTO app.card (card_no, student_id, status, issued_on, updated_at)
SELECT new_card_no, student_id, 'active', (created_at AT TIME ZONE 'Asia/Shanghai')::date + 1, created_at + interval '1 day'
FROM replacement ORDER BY student_id;

-- Closed replacements; then 36 orders whose term is over, 60 in work and 24 cancelled ones.
INSERT INTO app.card_order (student_id, old_card_no, new_card_no, kind, status, clerk, created_at, expires_at, closed_at)
SELECT student_id, old_card_no, new_card_no, kind, 'closed', 'clerk_zhao', created_at,
       created_at + interval '30 days', created_at + interval '1 day'
FROM replacement ORDER BY created_at, student_id;
INSERT INTO app.card_order (student_id, old_card_no, kind, status, clerk, created_at, expires_at, closed_at)
SELECT student_id, :first_card + student_id, 'renewal', status, 'clerk_zhao', created_at, created_at + interval '30 days',
       CASE status WHEN 'cancelled' THEN created_at + interval '2 days' END
FROM generate_series(0, 119) AS k
CROSS JOIN LATERAL (SELECT k * 64 + 32 AS student_id,
    CASE WHEN k < 96 THEN 'open' ELSE 'cancelled' END AS status,
    CASE WHEN k < 36 THEN timestamptz '2026-10-09 09:00+08' ELSE timestamptz '2026-11-16 09:00+08' END
        + k % 30 * interval '17 minutes' AS created_at) AS item;

-- One top-up in September and two purchases up to the end of October for each card: all before the first loss.
CREATE TEMP TABLE ledger AS
SELECT timestamptz '2026-09-01 07:30+08' + pg_temp.pick(student_id, 'top', 240) * interval '1 hour' / 8 AS booked_at,
       :first_card + student_id AS card_no, 'top_up' AS kind,
       (ARRAY[100, 200, 200, 300, 500])[1 + pg_temp.pick(student_id, 'sum', 5)]::numeric(10,2) AS amount,
       pg_temp.pick_of(student_id, 'channel', '{校园充值点,微信支付,支付宝,银行代扣}') AS merchant
FROM app.student
UNION ALL
SELECT timestamptz '2026-09-03 00:00+08' + pg_temp.pick(student_id, 'day' || nth, 58) * interval '1 day'
           + (ARRAY[435, 690, 705, 720, 735, 960, 1020])[1 + pg_temp.pick(student_id, 'hour' || nth, 7)] * interval '1 minute'
           + pg_temp.pick(student_id, 'second' || nth, 840) * interval '1 second',
       :first_card + student_id, 'purchase', -(150 + pg_temp.pick(student_id, 'price' || nth, 2650))::numeric / 100,
       pg_temp.pick_of(student_id, 'shop' || nth, '{第一食堂,第二食堂,第一食堂,面点窗口,校园超市,文具店,图书馆复印室,校车}')
FROM app.student CROSS JOIN generate_series(1, 2) AS nth;

-- What is left on a lost card moves to the new one.
INSERT INTO ledger
SELECT r.created_at + interval '1 day', side.card_no, side.kind, side.sign * sum(l.amount), '补换卡转账'
FROM replacement AS r JOIN ledger AS l ON l.card_no = r.old_card_no
CROSS JOIN LATERAL (VALUES (r.old_card_no, 'transfer_out', -1), (r.new_card_no, 'transfer_in', 1)) AS side (card_no, kind, sign)
GROUP BY r.created_at, side.card_no, side.kind, side.sign;

INSERT INTO app.card_transaction (booked_at, card_no, kind, amount, merchant)
SELECT booked_at, card_no, kind, amount, merchant FROM ledger ORDER BY booked_at, card_no, kind;
UPDATE app.card SET balance = total.amount
FROM (SELECT card_no, sum(amount) AS amount FROM ledger GROUP BY card_no) AS total
WHERE total.card_no = card.card_no;
DROP TABLE ledger, replacement;
