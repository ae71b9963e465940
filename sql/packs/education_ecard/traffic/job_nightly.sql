-- The nightly job, as the scheduler would send it:  psql -U job_nightly -f job_nightly.sql
-- Closes orders whose term is over, ten at a time and at most forty a night, and counts what does not add up.
\set ON_ERROR_STOP on

DO $$
DECLARE
    closed bigint;
    total  bigint := 0;
BEGIN
    FOR batch IN 1 .. 4 LOOP
        closed := app.close_expired_orders(10);
        total := total + closed;
        EXIT WHEN closed = 0;
        COMMIT;
    END LOOP;
    RAISE NOTICE 'expired orders closed: %', total;
END
$$;

-- What is left on a card that was replaced today moves to the new one: a few cards a night, at most ten.
DO $$
DECLARE
    pair record;
BEGIN
    FOR pair IN
        SELECT o.old_card_no, o.new_card_no, c.balance
        FROM app.card_order AS o JOIN app.card AS c ON c.card_no = o.old_card_no
        WHERE o.status = 'closed' AND c.status IN ('lost', 'damaged') AND c.balance > 0
        ORDER BY o.order_id LIMIT 10 FOR UPDATE OF c
    LOOP
        UPDATE app.card SET balance = balance - pair.balance, updated_at = now() WHERE card_no = pair.old_card_no;
        UPDATE app.card SET balance = balance + pair.balance, updated_at = now() WHERE card_no = pair.new_card_no;
        INSERT INTO app.card_transaction (card_no, kind, amount, merchant)
        VALUES (pair.old_card_no, 'transfer_out', -pair.balance, '补换卡转账'),
               (pair.new_card_no, 'transfer_in', pair.balance, '补换卡转账');
    END LOOP;
END
$$;

SELECT count(*) AS cards_off_the_ledger
FROM app.card LEFT JOIN (SELECT card_no, sum(amount) AS total FROM app.card_transaction GROUP BY card_no) AS ledger USING (card_no)
WHERE balance <> coalesce(total, 0);
SELECT status, count(*) FROM app.card_order GROUP BY status ORDER BY status;
