-- Asserts that the generated data is what generate.sql promises. Raises at the first thing that is not.
-- Must run before traffic: traffic changes what is counted here.
\set ON_ERROR_STOP on

SET plpgsql.check_asserts = on;

-- GB 11643 check by the definition of ISO 7064 MOD 11-2: every character weighs 2^(18-i), the sum is 1 modulo 11.
-- generate.sql derives the last character from a table of weights instead, so the two cannot share a mistake.
CREATE FUNCTION pg_temp.id_card_is_valid(id_card text) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN id_card ~ '^[0-9]{17}[0-9X]$' AND (
        SELECT sum((CASE c WHEN 'X' THEN 10 ELSE c::int END) * (1::bigint << (18 - i)::int)) % 11 = 1
        FROM regexp_split_to_table(id_card, '') WITH ORDINALITY AS part (c, i));

DO $$
BEGIN
    -- The check itself: a published sample number passes, its neighbours do not.
    ASSERT pg_temp.id_card_is_valid('11010519491231002X'), 'the standard''s sample number';
    ASSERT NOT pg_temp.id_card_is_valid('110105194912310021'), 'a wrong check character';
    ASSERT NOT pg_temp.id_card_is_valid('11010519491213002X'), 'two digits swapped';

    -- Counts.
    ASSERT (SELECT count(*) FROM app.school) = 40, '40 schools';
    ASSERT (SELECT count(*) FROM app.student) = 20480, '20,480 students';
    ASSERT (SELECT bool_and(pupils = 512) FROM (SELECT count(*) AS pupils FROM app.student GROUP BY school_id) AS s), '512 a school';
    ASSERT (SELECT count(*) FROM app.card_transaction) = 62080, '62,080 transactions';
    ASSERT (SELECT count(*) FROM app.card) = 20800, 'a card each and 320 replacements';
    ASSERT (SELECT count(*) FROM app.card_order WHERE status = 'closed') = 320, '320 closed orders';
    ASSERT (SELECT count(*) FROM app.card_order WHERE status = 'open' AND expires_at < '2026-11-20 00:00+08') = 36, '36 expired orders';
    ASSERT (SELECT count(*) FROM app.users) = 94, '94 accounts';
    ASSERT (SELECT count(*) FROM pg_inherits WHERE inhparent = 'app.card_transaction'::regclass) >= 6, 'monthly partitions';
    ASSERT NOT EXISTS (SELECT FROM app.card_transaction_default), 'every transaction has its month';

    -- Identity numbers.
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE NOT pg_temp.id_card_is_valid(id_card)), 'check characters';
    ASSERT EXISTS (SELECT FROM app.student WHERE id_card LIKE '%X'), 'some check characters are X';
    ASSERT (SELECT count(DISTINCT id_card) FROM app.student) = 20480, 'identity numbers are unique';
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE substr(id_card, 7, 8) <> to_char(birth_date, 'YYYYMMDD')), 'birth dates';
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE (substr(id_card, 17, 1)::int % 2 = 1) <> (gender = '男')), 'gender digits';
    ASSERT NOT EXISTS (
        SELECT FROM app.student AS s LEFT JOIN app.region AS r ON r.code = left(s.id_card, 6)
        WHERE r.code IS NULL OR s.birth_date < r.created_on OR s.birth_date >= r.abolished_on), 'region codes in force at birth';

    -- Plausibility: ages of school children, names, addresses.
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE age(date '2026-09-01', birth_date) NOT BETWEEN
        (grade + 5) * interval '1 year' AND (grade + 6) * interval '1 year'), 'ages fit grades';
    ASSERT NOT EXISTS (
        SELECT FROM app.student JOIN app.school USING (school_id) WHERE grade NOT BETWEEN
            CASE stage WHEN 'primary' THEN 1 WHEN 'junior' THEN 7 ELSE 10 END AND
            CASE stage WHEN 'primary' THEN 6 WHEN 'junior' THEN 9 ELSE 12 END), 'grades fit schools';
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE name !~ '^[一-龥]{2,4}$'), 'student names';
    ASSERT NOT EXISTS (SELECT FROM app.guardian WHERE name !~ '^[一-龥]{2,4}$'), 'guardian names';
    ASSERT (SELECT count(*) FROM app.student WHERE name ~ '^(欧阳|司马|诸葛|上官|慕容)') > 100, 'compound surnames';
    ASSERT NOT EXISTS (SELECT FROM app.student WHERE address !~ '^江苏省苏州市.+号.+幢\d{3,4}室$'), 'addresses';

    -- Phones: eleven digits with a prefix that has been given out.
    ASSERT NOT EXISTS (
        SELECT FROM (SELECT phone FROM app.student UNION ALL SELECT phone FROM app.guardian UNION ALL SELECT phone FROM app.users) AS p
        WHERE phone !~ '^1(3[0-9]|4[579]|5[0-35-9]|66|7[35-8]|8[0-9]|9[189])\d{8}$'), 'phone numbers';

    -- References, beyond what the foreign keys say.
    ASSERT NOT EXISTS (SELECT FROM pg_constraint WHERE connamespace = 'app'::regnamespace AND NOT convalidated), 'constraints are validated';
    ASSERT NOT EXISTS (SELECT FROM app.guardian LEFT JOIN app.student USING (student_id) WHERE student.student_id IS NULL), 'guardians have students';
    ASSERT NOT EXISTS (SELECT FROM app.card_transaction LEFT JOIN app.card USING (card_no) WHERE card.card_no IS NULL), 'transactions have cards';
    ASSERT (SELECT count(*) FROM app.guardian WHERE is_primary) = 20480, 'one primary guardian each';
    ASSERT (SELECT bool_and(guardians IN (1, 2)) FROM (SELECT count(*) AS guardians FROM app.guardian GROUP BY student_id) AS g), 'one or two guardians';
    ASSERT (SELECT count(*) FROM app.card WHERE status = 'active') = 20480, 'one active card each';
    ASSERT NOT EXISTS (
        SELECT FROM app.card_order AS o JOIN app.card AS c ON c.card_no IN (o.old_card_no, o.new_card_no)
        WHERE c.student_id <> o.student_id), 'orders name cards of their student';
    ASSERT NOT EXISTS (
        SELECT FROM app.card LEFT JOIN (SELECT card_no, sum(amount) AS total FROM app.card_transaction GROUP BY card_no) AS l USING (card_no)
        WHERE balance <> coalesce(total, 0)), 'balances equal the ledger';
    ASSERT NOT EXISTS (SELECT FROM app.card WHERE status <> 'active' AND balance <> 0), 'nothing is left on lost cards';
END
$$;
RESET plpgsql.check_asserts;
